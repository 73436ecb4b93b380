"""Table 3: what is counted at LLaMA-7B's size, and that each method trains what it says and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
import torch

from eval import efficiency
from eval.efficiency import RATES, Settings, Trained, counted, trainings, tuned_model
from eval.tables import efficiency_tables
from mmadapter.config.settings import Recipe
from mmadapter.data import load_dataset
from mmadapter.training.loop import train
from tests.tiny import tiny_lm


def test_the_counted_column_is_the_papers():
    assert counted() == {"LLaMA-Adapter": 1_229_760, "LoRA": 4_194_304, "full fine-tuning": 6_738_415_616}


def test_storage_is_told_in_the_papers_units():
    """Its 4.7M are MiB in single precision, its 16.8M MB, its 13G GB in half precision: by hand."""
    record = {
        "counted": counted(),
        "published": efficiency.PUBLISHED,
        "rates": dict.fromkeys(RATES, 0.1),
        "settings": {"epochs": 1, "seeds": [0]},
        "trained": [asdict(Trained(method, 0.1, 0, 1, 1.0, 1, "10", "01")) for method in RATES],
    }
    lines = efficiency_tables(record).splitlines()
    assert lines[4:7] == [
        "| LLaMA-Adapter | 1,229,760 | 4.9 MB = 4.7 MiB (single precision) | 1.2M | 4.7M |",
        "| LoRA | 4,194,304 | 16.8 MB = 16.0 MiB (single precision) | 4.2M | 16.8M |",
        "| full fine-tuning | 6,738,415,616 | 13,476.8 MB = 12,852.5 MiB (half precision) | 7B | 13G |",
    ]


def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    asked = []

    def run(settings: Settings, method: str, rate: float, seed: int) -> Trained:
        asked.append((settings.epochs, method, rate, seed))
        return Trained(method, rate, seed, 7, 1.5, 9, "1101", "10")

    monkeypatch.setattr(efficiency, "run", run)
    monkeypatch.setattr(efficiency, "KEPT", tmp_path / "efficiency")
    wanted = [("full fine-tuning", 1e-4, 0), ("full fine-tuning", 1e-4, 1), ("LoRA", 1e-3, 0)]
    with ThreadPoolExecutor(1) as pool:
        first = trainings(pool, Settings(), wanted)
        assert asked == [(3, *one) for one in wanted]
        assert trainings(pool, Settings(jobs=7), wanted) == first
        assert trainings(pool, Settings(epochs=1), wanted[:1]) == trainings(pool, Settings(limit=2), wanted[:1])
    assert [(one.method, one.rate, one.seed) for one in first] == wanted
    assert asked[3:] == [(1, *wanted[0]), (3, *wanted[0])]


@pytest.mark.parametrize("method", RATES)
def test_a_method_trains_what_it_says_and_nothing_else(method):
    llm = tiny_lm(num_hidden_layers=4)
    model = tuned_model(method, llm, seed=0)
    before = {name: weight.clone() for name, weight in llm.model.named_parameters()}
    train(model, load_dataset("demo").first(8), Recipe(epochs=2, batch_size=4, warmup_epochs=0.0), quiet=True)
    moved = {name for name, weight in llm.model.named_parameters() if not torch.equal(weight, before[name])}
    expected = {
        "LLaMA-Adapter": set(),
        "LoRA": {name for name in before if "lora_" in name},
        "full fine-tuning": set(before),
    }
    assert moved == expected[method]
    assert (method == "LLaMA-Adapter") == (model.adapter.gates.abs().max().item() > 0)
