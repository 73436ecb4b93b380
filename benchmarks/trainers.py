"""The trainers: the limit, mmadapter, and the peers as their users run them.

A builder takes a backbone, whose weights all share, and questions, and returns a training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM

from benchmarks.limit import LimitTraining
from benchmarks.measure import Contender
from benchmarks.peers import litgpt_twin, peft_twin, random_batches
from benchmarks.workload import SIZES, Settings, adapted, fused_twin, images
from mmadapter.config.settings import Recipe
from mmadapter.inference.activations import Activations, stored_activations
from mmadapter.inference.likelihood import adaption_of, answer_loss
from mmadapter.inference.rows import trained_row
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.training.batches import epoch_batches, forward_parts
from mmadapter.training.step import BETAS, CLIP_NORM

LEARNING_RATE = 1e-3


class Training(NamedTuple):
    """A training that is ready to run."""

    epoch: Callable[[], float]
    """Trains on all questions; returns the summed loss of the answer tokens, in nats, each before its step."""
    trained: list[Tensor]
    """The weights that a step changes."""


def train_limit(
    settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float, *, packed: bool
) -> Training:
    """Build the limit's training, whole batches packed or one sequence at a time."""
    batches = list(random_batches(asked, settings)) if packed else [[question] for question in asked]
    limit = LimitTraining(model, settings.adapter_layers)
    return Training(lambda: limit.epoch(batches), [])


def train_ours(
    settings: Settings,
    model: LlamaForCausalLM,
    asked: Sequence[Encoded],
    rate: float,
    *,
    text_only: bool = True,
    stored: bool = False,
    compiled: bool = False,
) -> Training:
    """Build the training of mmadapter.training.loop.train, without its log, validation and checkpoints."""
    ours = adapted(settings, fused_twin(model) if compiled else model, text_only=text_only)
    below = _stored(ours, asked) if stored else None
    seen, recipe = images(settings, asked), Recipe()
    weights = list(ours.adapter.parameters())
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=recipe.weight_decay)
    lengths = [len(question.read_tokens) for question in asked]

    def epoch() -> float:
        total = 0.0
        for batch in epoch_batches(lengths, settings.batch, settings.seed, 0):
            tokens = sum(len(asked[index].target) for index in batch)
            loss = torch.zeros((), device=ours.llm.model.device)
            for part in forward_parts(batch, lengths, recipe.forward_tokens, (0, 1)):
                some = [asked[index] for index in part]
                entered = below.of(some) if below is not None else None
                share = answer_loss(ours, adaption_of(ours, seen, some), some, entered) / tokens
                share.backward()
                loss += share.detach()
            total += loss.item() * tokens
            torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM).item()
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, weights)


def _stored(ours: MultimodalAdapter, asked: Sequence[Encoded]) -> Activations:
    read = {question.pid: trained_row(question, choices=False) for question in asked}
    with TemporaryDirectory() as folder, patch.dict(os.environ, MMADAPTER_CACHE=folder):
        return stored_activations(ours, read, quiet=True)  # mapped: it outlives the folder


def train_peft(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """Build the training of PEFT's AdaptionPrompt."""
    peft_model = peft_twin(settings, model)
    trained = [parameter for parameter in peft_model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    batches = list(random_batches(asked, settings))

    def epoch() -> float:
        total = 0.0
        for batch in batches:
            ids, labels, mask = (part.to(model.device) for part in _padded(batch))
            loss = peft_model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            total += loss.item() * sum(len(question.target) for question in batch)
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, trained)


def train_litgpt(
    settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float, *, one_by_one: bool
) -> Training:
    """Build the loop of litgpt/finetune/adapter.py on one device.

    The prompts' cached keys and values are emptied before each part. litgpt keeps those of its first, gradient-free
    validation, so that its prompts never train (its issue 1287); emptied, it does the intended work.
    """
    from litgpt.utils import chunked_cross_entropy

    gpt = litgpt_twin(settings, model)
    trained = [parameter for parameter in gpt.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    batches = list(random_batches(asked, settings))

    def epoch() -> float:
        total = 0.0
        for batch in batches:
            size = 1 if one_by_one else len(batch)
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                for block in gpt.transformer.h:
                    block.attn.adapter_kv_cache = None
                ids, labels, _ = (tensor.to(model.device) for tensor in _padded(part))
                logits = gpt(ids, lm_head_chunk_size=128)
                logits[-1] = logits[-1][..., :-1, :]
                loss = chunked_cross_entropy(logits, labels[..., 1:])
                (loss * len(part) / len(batch)).backward()
                total += loss.item() * sum(len(question.target) for question in part)
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, trained)


TRAINING = {
    "limit, packed": Contender(
        "frozen backbone alone, a batch packed without padding", partial(train_limit, packed=True)
    ),
    "limit, one by one": Contender("frozen backbone alone, sequence by sequence", partial(train_limit, packed=False)),
    "mmadapter, text-only": Contender("adapter without images, as `mmadapter-train` steps", train_ours),
    "mmadapter, multimodal": Contender(
        "adapter and projection, images for 48 % of the questions", partial(train_ours, text_only=False)
    ),
    "mmadapter, stored": Contender(
        "adapter without images, what enters its first layer read from disk (`--store-activations`)",
        partial(train_ours, stored=True),
    ),
    "mmadapter, compiled": Contender(
        "adapter without images, the frozen layers fused by torch.compile (`--compile`)",
        partial(train_ours, compiled=True),
    ),
    "PEFT": Contender("PEFT AdaptionPrompt: random batches padded to the longest, logits of every token", train_peft),
    "litgpt": Contender(
        "litgpt's adapter: random batches padded to the longest, head and loss in chunks",
        partial(train_litgpt, one_by_one=False),
    ),
    "litgpt, one by one": Contender(
        "litgpt's adapter with its default micro-batch of one sequence, accumulated",
        partial(train_litgpt, one_by_one=True),
    ),
}


def possible(settings: Settings) -> dict[str, Contender]:
    """Return the trainers that can run, and print why the others cannot."""
    missing = {}
    if find_spec("litgpt") is None:
        missing |= dict.fromkeys(("litgpt", "litgpt, one by one"), "litgpt is not installed (benchmarks/README.md)")
    if settings.adapter_layers == SIZES[settings.size].layers:
        missing["mmadapter, stored"] = "all layers are adapted, so no activations stay the same"
    if not settings.compile:
        missing["mmadapter, compiled"] = "--compile was not given"
    for name, reason in missing.items():
        print(f"{name} is left out: {reason}")
    return {name: contender for name, contender in TRAINING.items() if name not in missing}


def _padded(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, labels (-100 except at the answers) and attention mask, padded on the right."""
    ids = [torch.tensor(question.prompt + question.target) for question in batch]
    labels = [torch.tensor([-100] * len(question.prompt) + question.target) for question in batch]
    return (
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=-100),
        pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
    )
