"""Table 3: what is counted at LLaMA-7B's size, and that each method trains what it says and nothing else."""

import pytest
import torch

from eval.efficiency import RATES, counted, tuned_model
from mmadapter.config import Recipe
from mmadapter.scienceqa.load import load_dataset
from mmadapter.training.loop import train
from tests.tiny import tiny_lm


def test_the_counted_column_is_the_papers():
    assert counted() == {"LLaMA-Adapter": 1_229_760, "LoRA": 4_194_304, "full fine-tuning": 6_738_415_616}


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
