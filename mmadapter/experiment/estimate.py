"""How long a training and its test take on this machine, from two seconds of work on two layers of the model.

The layers have the model's sizes and random weights, so nothing is downloaded or loaded. The work is the training's own
step and scoring's own forward, on a batch of middling length, with one and with two layers adapted:

    below    a frozen layer
    last     the topmost layer, the head and the optimiser
    further  each adapted layer below it

All are seconds a token. An epoch of N layers, L of them adapted, costs (N - L) below + last + (L - 1) further.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.device import resolve_dtype
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.config.settings import Recipe, RunConfig
from mmadapter.inference.likelihood import adaption_of, option_log_likelihoods
from mmadapter.inference.rows import row_inputs, scored_length, scored_row
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.training.batches import epoch_batches
from mmadapter.training.memory import top_layers
from mmadapter.training.step import TrainingSet, adamw, backward, update_weights

PROBE_SECONDS = 0.4
"""For each of the five measurements."""
PROBE_OPERATIONS = 1e10
"""Multiplications of a processor's probe at most, through the weights of one layer: a large model gets a part of a
batch."""


@dataclass(frozen=True)
class TokenSeconds:
    """Seconds a token."""

    below: float
    last: float
    further: float

    def through(self, below: int, adapted: int) -> float:
        """Return the cost of so many frozen and adapted layers."""
        return below * self.below + self.last + (adapted - 1) * self.further


def probe(
    config: RunConfig, llm: LanguageModel, questions: list[Encoded], device: torch.device
) -> tuple[TokenSeconds, TokenSeconds]:
    """Return the costs of training and of answering.

    Args:
        llm: may be a skeleton.
        questions: of the training split.
    """
    top = top_layers(llm.model.config, 2)
    dtype = resolve_dtype(config.dtype, device)
    with device:
        model = AutoModelForCausalLM.from_config(top, attn_implementation=ATTENTION_NAME, dtype=dtype)
    layers = LanguageModel(model.requires_grad_(False).eval(), llm.tokenizer, llm.name)
    lengths = [scored_length(question) if config.choice_loss else len(question.read_tokens) for question in questions]
    weights = sum(parameter.numel() for parameter in layers.layers[0].parameters())
    batch: list[int] = []
    tokens = 0
    batches = epoch_batches(lengths, config.batch_size, config.seed, 0)
    batches.sort(key=lambda indices: sum(lengths[index] for index in indices))
    for index in batches[len(batches) // 2]:
        tokens += lengths[index]
        if batch and device.type == "cpu" and tokens * weights > PROBE_OPERATIONS:
            break
        batch.append(index)
    asked = [questions[index] for index in batch]
    trained, answered = sum(lengths[index] for index in batch), sum(map(scored_length, asked))
    one, two = (
        MultimodalAdapter.build(
            layers, None, adapter_len=config.adapter_len, adapter_layers=count, attention=config.attention
        )
        for count in (1, 2)
    )
    rows = row_inputs([scored_row(question) for question in asked], device)
    below = _seconds(lambda: one.below_adapter(rows[0], **rows[1]), device) / answered
    costs = []
    for work, tokens in ((_step, trained), (_answer, answered)):
        last = max(0.0, _seconds(work(config, one, questions, lengths, batch), device) / tokens - below)
        further = max(0.0, _seconds(work(config, two, questions, lengths, batch), device) / tokens - last)
        costs.append(TokenSeconds(below, last, further))
    return costs[0], costs[1]


def _step(
    config: RunConfig, model: MultimodalAdapter, questions: list[Encoded], lengths: list[int], batch: list[int]
) -> Callable[[], object]:
    recipe = config.part(Recipe)
    model.checkpointing = config.checkpointing
    accelerator = Accelerator(cpu=model.llm.model.device.type == "cpu")
    optimizer, train_set = adamw(model, recipe), TrainingSet(questions, lengths, None, None)

    def step() -> None:
        backward(model, train_set, batch, recipe, accelerator, lambda: False)
        update_weights(model, optimizer, 0.0, accelerator)

    return step


def _answer(
    config: RunConfig, model: MultimodalAdapter, questions: list[Encoded], lengths: list[int], batch: list[int]
) -> Callable[[], object]:
    asked = [questions[index] for index in batch]
    return lambda: option_log_likelihoods(model, adaption_of(model, None, asked), asked)


def run_seconds(
    config: RunConfig, costs: tuple[TokenSeconds, TokenSeconds], tokens: dict[str, int], layers: int, variants: int
) -> float:
    """Return the seconds of a run without its images.

    Args:
        tokens: of the splits `train` and `val`, and of the tested one as `test`.
        layers: N.
    """
    training, answering = costs
    adapted = config.adapter_layers or layers
    frozen = layers - adapted
    stored = 0.0
    if config.store_activations:
        stored, frozen = sum(tokens.values()) * frozen * answering.below, 0
    epoch = tokens["train"] * training.through(frozen, adapted) + tokens["val"] * answering.through(frozen, adapted)
    tested = tokens["test"] * answering.through(frozen, adapted)
    whole = variants * (config.epochs * epoch + tested) + stored
    if config.dataset == "demo":  # its ceiling, by the frozen model
        whole += tokens["test"] * answering.through(layers - 1, 1)
    return whole


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the mean time of a piece of work, which is done once before."""
    work()
    _wait(device)
    started, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < PROBE_SECONDS:
        work()
        _wait(device)
        done += 1
    return passed / done


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
