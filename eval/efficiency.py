"""Table 3: LLaMA-Adapter against LoRA and full fine-tuning on the same backbone, data and steps.

    python -m eval.efficiency

Parameters are counted on LLaMA-7B, without its weights. Time, memory and accuracy are measured on the embedded tiny
LLaMA, text-only, on the demo, each training in a process of its own and in the same loop; only the trained weights
differ. Each method has the learning rate of its grid that is best on val. Writes eval/results/efficiency.json and
RESULTS.md. Finished trainings stay in runs/efficiency/ and are not repeated.
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

from eval.page import write_page
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
from mmadapter.runs.provenance import CLEAR, provenance, resident
from mmadapter.storage.files import write_text
from mmadapter.training.loop import train

FILE = FOLDER / "efficiency.json"
KEPT = Path("runs/efficiency")
"""Folder of a file for each finished training."""
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
"""Alpaca-LoRA's settings; 4.2 M parameters on LLaMA-7B, as in the paper's Table 3."""
RATES = {
    "LLaMA-Adapter": (3e-3, 1e-2, 3e-2),
    "LoRA": (1e-3, 3e-3, 1e-2),
    "full fine-tuning": (1e-4, 3e-4, 1e-3),
}
"""Learning rates tried for each method."""
PUBLISHED = {"LLaMA-Adapter": ("1.2M", "4.7M"), "LoRA": ("4.2M", "16.8M"), "full fine-tuning": ("7B", "13G")}
"""Tuned parameters and storage as printed in Table 3: its 4.7M are MiB, its 16.8M are MB."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `python -m eval.efficiency`."""

    epochs: int = 3
    """Epochs of each training."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each method; the first one chooses its learning rate."""
    limit: int | None = None
    """Use only the first LIMIT problems of each split."""
    jobs: int = 2
    """Trainings at a time."""


@dataclass(frozen=True)
class Trained:
    """The result of one training."""

    method: str
    rate: float
    seed: int
    tuned: int
    """Number of trained parameters."""
    seconds: float
    """Time of training, with a validation every epoch."""
    memory: int
    """Peak of resident memory beyond that of the loaded model, in bytes."""
    val: str
    """A digit a val question: 1 correct, 0 wrong."""
    test: str
    """A digit a test question without an image, which a text-only model can answer."""


class TunedModel(MultimodalAdapter):
    """A model whose language model trains itself, instead of an adapter."""

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
        """Return the embeddings, whose weights may train."""
        return self.llm.model.get_input_embeddings()(input_ids)

    def project(self, adaption: object) -> list[None]:
        """Return no prompts for any layer."""
        return [None] * len(self.llm.layers)


class _Weights(Adapter):
    """An adapter in name, whose weights are the language model's own."""

    def __init__(self, config: AdapterConfig, weights: dict[str, nn.Parameter]) -> None:
        super().__init__(config)
        self.requires_grad_(False)
        for name, weight in weights.items():
            self.register_parameter(name.replace(".", "/"), weight.requires_grad_(True))


def tuned_model(method: str, llm: LanguageModel, seed: int) -> MultimodalAdapter:
    """Return the language model with the weights that the method trains."""
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
    """Train once, in this process."""
    torch.set_num_threads(1)
    preset = PRESETS["tiny"]
    data = load_dataset("demo").first(settings.limit)
    llm = load_llm(preset.llm)
    model = tuned_model(method, llm, seed)
    CLEAR.write_text("5")  # reset the peak
    at_rest = resident("VmRSS")
    recipe = replace(preset.part(Recipe), epochs=settings.epochs, learning_rate=rate, seed=seed)
    epochs = train(model, data, recipe, quiet=True)
    memory = resident("VmHWM") - at_rest
    right = {}
    for split in ("val", "test"):
        frame = error_frame(predict(model, data[split], quiet=True), data[split])
        asked = frame if split == "val" else frame[~frame["has_image"].astype(bool)]
        right[split] = "".join("1" if correct else "0" for correct in asked["correct"])
    return Trained(
        method,
        rate,
        seed,
        sum(weight.numel() for weight in model.adapter.parameters() if weight.requires_grad),
        epochs[-1].seconds,
        memory,
        right["val"],
        right["test"],
    )


def trainings(pool: Executor, settings: Settings, wanted: Iterable[tuple[str, float, int]]) -> list[Trained]:
    """Return the trainings (method, rate, seed), read from `KEPT` where finished, and run otherwise."""
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
    """Return the number of tuned parameters of each method on LLaMA-7B."""
    size = LlamaConfig()  # transformers' default is LLaMA-7B
    with torch.device("meta"):
        model = LlamaForCausalLM(size)
        adapter = Adapter(AdapterConfig(hidden_size=size.hidden_size, num_heads=size.num_attention_heads))
        full = sum(weight.numel() for weight in model.parameters())
        inject_adapter_in_model(LoraConfig(**LORA), model)
    lora = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" in name)
    return {
        "LLaMA-Adapter": sum(weight.numel() for weight in adapter.parameters()),
        "LoRA": lora,
        "full fine-tuning": full,
    }


def main(settings: Settings) -> None:
    """Train every method with each learning rate of its grid, and with the best one on every seed."""
    if FILE.is_file() and json.loads(FILE.read_text(encoding="utf-8"))["settings"] == _plain(settings):
        return
    load_dataset("demo")  # generated here, not by several processes at once
    first, *others = settings.seeds
    with ProcessPoolExecutor(settings.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        done = trainings(pool, settings, [(method, rate, first) for method, rates in RATES.items() for rate in rates])
        best = best_rates(done)
        done += trainings(pool, settings, [(method, rate, seed) for method, rate in best.items() for seed in others])
    record = {
        "settings": _plain(settings),
        **provenance(),
        "counted": counted(),
        "rates": best,
        "published": PUBLISHED,
        "trained": [asdict(trained) for trained in done],
    }
    write_text(FILE, json.dumps(record, indent=1) + "\n")
    write_page()


def best_rates(trained: Sequence[Trained]) -> dict[str, float]:
    """Return each method's learning rate with the best val accuracy."""
    return {
        method: max((one for one in trained if one.method == method), key=lambda one: one.val.count("1")).rate
        for method in RATES
    }


def _plain(settings: Settings) -> dict:
    return json.loads(json.dumps(asdict(settings)))


if __name__ == "__main__":
    program(main, Settings)
