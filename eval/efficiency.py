"""Table 3: LLaMA-Adapter against LoRA and full fine-tuning on the same backbone, data and steps.

    python -m eval.efficiency

What is counted is counted on LLaMA-7B, without its weights. What is measured is measured on the embedded tiny LLaMA,
text-only, on the demo, each training in a process of its own and through the same loop: only what trains differs. Each
method has the learning rate of its grid that is best on val. Writes eval/results/efficiency.json and RESULTS.md; what
was trained before it was stopped lies in runs/efficiency/ and is not trained again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.measure import provenance
from benchmarks.memory import CLEAR, resident
from benchmarks.workload import SIZES
from eval.results import FOLDER
from mmadapter.adapter.parameters import Adapter, AdapterConfig
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_llm
from mmadapter.cli.options import program
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import InputFormat, Recipe
from mmadapter.data import load_dataset
from mmadapter.evaluation.frame import error_frame
from mmadapter.inference.predict import predict
from mmadapter.model import MultimodalAdapter
from mmadapter.storage.files import write_text
from mmadapter.training.loop import train

FILE = FOLDER / "efficiency.json"
KEPT = Path("runs/efficiency")
"""Of each finished training a file."""
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
"""Alpaca-LoRA's: 4.2 M parameters on LLaMA-7B, the paper's Table 3."""
RATES = {
    "LLaMA-Adapter": (3e-3, 1e-2, 3e-2),
    "LoRA": (1e-3, 3e-3, 1e-2),
    "full fine-tuning": (1e-4, 3e-4, 1e-3),
}
"""Learning rates that each method is tried with."""
PUBLISHED = {"LLaMA-Adapter": ("1.2M", "4.7M"), "LoRA": ("4.2M", "16.8M"), "full fine-tuning": ("7B", "13G")}
"""Tuned parameters and storage, as Table 3 prints them: its 4.7M are MiB, its 16.8M are MB."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `python -m eval.efficiency` can be told."""

    epochs: int = 3
    """Of each training."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of each method; the first one chooses its learning rate."""
    limit: int | None = None
    """Use only the first LIMIT problems of each split."""
    jobs: int = 2
    """Trainings at a time."""


@dataclass(frozen=True)
class Trained:
    """What one training came to."""

    method: str
    rate: float
    seed: int
    tuned: int
    """Parameters."""
    seconds: float
    """Of training, with a validation every epoch."""
    memory: int
    """Bytes of resident memory at the peak, less those with the frozen model loaded."""
    val_accuracy: float
    test_accuracy: float
    """Percent, over the questions without an image, which a text-only model can answer."""


class TunedModel(MultimodalAdapter):
    """Weights of the language model itself train, in the place of an adapter's."""

    def __init__(self, llm: LanguageModel, weights: dict[str, nn.Parameter], form: InputFormat) -> None:
        size = llm.model.config
        shape = AdapterConfig(
            hidden_size=size.hidden_size,
            num_heads=size.num_attention_heads,
            adapter_len=1,
            adapter_layers=len(llm.layers),  # gradients reach all of them
        )
        super().__init__(llm, _Weights(shape, weights), None, form)

    def below_adapter(self, input_ids: Tensor, **inputs: Tensor | None) -> Tensor:
        """The embedding, whose weights may train."""
        return self.llm.model.get_input_embeddings()(input_ids)

    def project(self, adaption: object) -> list[None]:
        """No prompts in any layer."""
        return [None] * len(self.llm.layers)


class _Weights(Adapter):
    """In an adapter's place: what trains is elsewhere in the model."""

    def __init__(self, config: AdapterConfig, weights: dict[str, nn.Parameter]) -> None:
        super().__init__(config)
        self.requires_grad_(False)
        for name, weight in weights.items():
            self.register_parameter(name.replace(".", "/"), weight.requires_grad_(True))


def tuned_model(method: str, llm: LanguageModel, seed: int) -> MultimodalAdapter:
    """The language model with what the method trains."""
    preset = PRESETS["tiny"]
    form = preset.part(InputFormat)
    if method == "LLaMA-Adapter":
        return MultimodalAdapter.build(
            llm,
            None,
            adapter_len=preset.adapter_len,
            adapter_layers=preset.adapter_layers,
            prompt_std=preset.prompt_std,
            seed=seed,
            form=form,
        )
    if method == "LoRA":
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(**LORA), llm.model)
    named = dict(llm.model.named_parameters())
    return TunedModel(llm, {name: w for name, w in named.items() if method != "LoRA" or "lora_" in name}, form)


def run(settings: Settings, method: str, rate: float, seed: int) -> Trained:
    """One training, in this process."""
    torch.set_num_threads(1)
    preset = PRESETS["tiny"]
    data = load_dataset("demo").first(settings.limit)
    llm = load_llm(preset.llm)
    model = tuned_model(method, llm, seed)
    CLEAR.write_text("5")  # the peak starts anew
    at_rest = resident("VmRSS")
    recipe = replace(preset.part(Recipe), epochs=settings.epochs, learning_rate=rate, seed=seed)
    epochs = train(model, data, recipe, quiet=True)
    memory = resident("VmHWM") - at_rest
    frame = error_frame(predict(model, data["test"], quiet=True), data)
    return Trained(
        method,
        rate,
        seed,
        sum(weight.numel() for weight in model.adapter.parameters() if weight.requires_grad),
        epochs[-1].seconds,
        memory,
        max(epoch.val_accuracy for epoch in epochs),
        100 * float(frame.loc[~frame["has_image"].astype(bool), "correct"].astype(bool).mean()),
    )


def trainings(pool: Executor, settings: Settings, wanted: Iterable[tuple[str, float, int]]) -> list[Trained]:
    """What trainings of a method, with a rate and a seed, came to: earlier, if one has a file in `KEPT`, else now."""
    limit = "" if settings.limit is None else f"-limit{settings.limit}"
    files = {
        (method, rate, seed): KEPT
        / f"{method.replace(' ', '-')}-{rate:g}-seed{seed}-epochs{settings.epochs}{limit}.json"
        for method, rate, seed in wanted
    }
    for task in [pool.submit(_keep, settings, file, *one) for one, file in files.items() if not file.is_file()]:
        task.result()
    return [Trained(**json.loads(file.read_text(encoding="utf-8"))) for file in files.values()]


def _keep(settings: Settings, file: Path, method: str, rate: float, seed: int) -> None:
    write_text(file, json.dumps(asdict(run(settings, method, rate, seed)), indent=1) + "\n")


def counted() -> dict[str, int]:
    """Tuned parameters of each method on LLaMA-7B."""
    size = SIZES["7b"]
    config = LlamaConfig(
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.intermediate,
        vocab_size=32_000,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        adapter = Adapter(AdapterConfig(hidden_size=size.hidden, num_heads=size.heads))
        found = {"LLaMA-Adapter": _count(adapter), "full fine-tuning": _count(model)}
        inject_adapter_in_model(LoraConfig(**LORA), model)
        lora = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" in name)
    return {"LLaMA-Adapter": found["LLaMA-Adapter"], "LoRA": lora, "full fine-tuning": found["full fine-tuning"]}


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def main(settings: Settings) -> None:
    """Every method with every learning rate of its grid, and with the best of them on every seed."""
    from eval.page import PAGE, page

    if FILE.is_file() and json.loads(FILE.read_text(encoding="utf-8"))["settings"] == _plain(settings):
        return
    load_dataset("demo")  # generated once, before several processes want it
    first, *others = settings.seeds
    with ProcessPoolExecutor(settings.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        done = trainings(pool, settings, [(method, rate, first) for method, rates in RATES.items() for rate in rates])
        best = best_rates(done)
        done += trainings(pool, settings, [(method, rate, seed) for method, rate in best.items() for seed in others])
    record = {
        "settings": _plain(settings),
        **provenance("cpu"),
        "counted": counted(),
        "rates": best,
        "published": PUBLISHED,
        "trained": [asdict(trained) for trained in done],
    }
    write_text(FILE, json.dumps(record, indent=1) + "\n")
    write_text(PAGE, page())


def best_rates(trained: Sequence[Trained]) -> dict[str, float]:
    """Of each method the learning rate with the best val accuracy."""
    return {
        method: max((one for one in trained if one.method == method), key=lambda one: one.val_accuracy).rate
        for method in RATES
    }


def _plain(settings: Settings) -> dict:
    return json.loads(json.dumps(asdict(settings)))


if __name__ == "__main__":
    program(main, Settings)
