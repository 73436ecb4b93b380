"""Cost of mmadapter's training step and scoring as one size of the work changes.

    python -m benchmarks.costs --size small --vocabulary 1000

The sizes are sequence length, batch size, K, L, and the number of a batch's questions with an image. All sequences of a
step have the same length, so there is no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import LlamaForCausalLM

from benchmarks.measure import Quartiles, Table, publish, rates, ratios
from benchmarks.trainers import LEARNING_RATE
from benchmarks.workload import LETTER_LEAD, SIZES, Settings, Shape, adapted, backbone, encoded
from mmadapter.cli.options import program
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import adaption_of, answer_loss, option_log_likelihoods
from mmadapter.inference.tokenising import Encoded

LENGTHS = (32, 64, 128, 256, 512)
BATCHES = (1, 2, 4, 8, 16, 32)
ADAPTER_LENGTHS = (1, 10, 30, 100)


@dataclass(frozen=True)
class Case:
    """One step."""

    settings: Settings
    length: int
    """Tokens of each prompt."""
    with_image: int = 0
    """Questions of the batch that have an image."""
    text_only: bool = True


def cases(settings: Settings, length: int) -> Iterator[tuple[str, dict[int, Case]]]:
    """Yield each size with its values and their steps; the other sizes stay as in the settings."""
    layers = SIZES[settings.size].layers
    shares = sorted({0, 1, settings.batch // 2, settings.batch})
    yield "prompt tokens", {value: Case(settings, value) for value in LENGTHS}
    yield "batch size", {value: Case(replace(settings, batch=value), length) for value in BATCHES}
    prompts = {value: Case(replace(settings, adapter_len=value), length) for value in ADAPTER_LENGTHS}
    yield "K, adaption prompts", prompts
    quarters = sorted({1, *(max(1, layers * part // 4) for part in (1, 2, 3, 4))})
    yield "L, adapted layers", {value: Case(replace(settings, adapter_layers=value), length) for value in quarters}
    images = {value: Case(settings, length, with_image=value, text_only=False) for value in shares}
    yield "questions with an image", images


def main(settings: Settings) -> None:
    """Publish a table for each size of the work."""
    model = backbone(settings)
    tables = []
    for axis, steps in cases(settings, length=72):
        works: dict[str, Callable[[], object]] = {}
        for value, case in steps.items():
            works[f"train {value}"], works[f"score {value}"] = _works(case, model)
        spent = settings.spent(works)
        first = next(iter(steps))
        rows = [
            {
                axis: str(value),
                "training step ms": Quartiles.of([1000 * second for second in spent[f"train {value}"]]),
                "tokens/s": rates(case.settings.batch * case.length, spent[f"train {value}"]),
                f"over that of {first}": ratios(spent[f"train {value}"], spent[f"train {first}"]),
                "scoring ms": Quartiles.of([1000 * second for second in spent[f"score {value}"]]),
                f"over that of {first} ": ratios(spent[f"score {value}"], spent[f"score {first}"]),
            }
            for value, case in steps.items()
        ]
        tables.append(Table(f"{axis}, {settings.size}, vocabulary {settings.vocabulary:,}", rows))
    workload = {"prompt tokens": 72, "options": 4, "rounds": settings.rounds}
    publish("costs", settings, workload, tables)


def _works(case: Case, model: LlamaForCausalLM) -> tuple[Callable[[], object], Callable[[], object]]:
    settings = case.settings
    ours = adapted(settings, model, text_only=case.text_only)
    random = np.random.default_rng(settings.seed)
    shape = Shape(case.length, LETTER_LEAD, (1,) * 4)
    batch: list[Encoded] = [
        encoded(str(pid), shape, "letter", settings.vocabulary, random) for pid in range(settings.batch)
    ]
    width = sum(SIZES[settings.size].features)
    seen = QuestionImages(torch.randn(case.with_image, width), {str(row): row for row in range(case.with_image)})
    optimizer = torch.optim.AdamW(ours.adapter.parameters(), lr=LEARNING_RATE)

    def train() -> float:
        loss = answer_loss(ours, adaption_of(ours, seen, batch), batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    @torch.no_grad()
    def score() -> object:
        return option_log_likelihoods(ours, adaption_of(ours, seen, batch), batch)

    return train, score


if __name__ == "__main__":
    program(main, Settings)
