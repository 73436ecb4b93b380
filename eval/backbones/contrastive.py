"""CLIP's contrastive training, for both scripts that train image towers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int
from open_clip import CLIP
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CONTEXT = 40
"""Most tokens of a caption."""
WARM_UP = 50
"""Steps from 0 to the peak of the learning rate."""

Batch = tuple[Float[Tensor, "B 3 S S"], Int[Tensor, "B 40"], list[str]]
"""Pictures, the tokens of their captions, and the captions."""


def clip_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tiny LLaMA's tokenizer with an end token after each caption, which the text tower reads."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)],
    )
    return tokenizer


def caption_tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Int[Tensor, "B 40"]:
    """Tokenise captions, cut or padded to `CONTEXT`."""
    return tokenizer(captions, max_length=CONTEXT, padding="max_length", truncation=True, return_tensors="pt").input_ids


def text_tower(tokenizer: PreTrainedTokenizerFast) -> dict:
    """Return open_clip's configuration of a small text tower: 0.2 million weights."""
    return {
        "context_length": CONTEXT,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "tiny-clip",  # open_clip replaces the name by the folder
        "width": 64,
        "heads": 4,
        "layers": 2,
        "pool_type": "eos",
        "eos_id": tokenizer.eos_token_id,
        "pad_id": tokenizer.pad_token_id,
    }


def contrastive_loss(
    image: Float[Tensor, "B C"], text: Float[Tensor, "B C"], scale: Tensor, captions: list[str]
) -> Tensor:
    """Return CLIP's symmetric loss, with equal captions sharing the target."""
    logits = scale * image @ text.T
    same = torch.tensor([[float(a == b) for a in captions] for b in captions])
    targets = same / same.sum(dim=1, keepdim=True)
    rows, columns = -(targets * log_softmax(logits, 1)).sum(1), -(targets * log_softmax(logits, 0)).sum(0)
    return (rows.mean() + columns.mean()) / 2


def trained(
    model: CLIP, stream: Iterator[Batch], steps: int, peak: float, tower_share: float = 1.0
) -> Iterator[tuple[int, float]]:
    """Train `model` and yield each step, from 1, with its loss.

    Args:
        peak: learning rate after the warm-up, from which a cosine falls to 0.
        tower_share: the image tower's learning rate as a share of the rest's.
    """
    groups = []
    for share, visual in ((tower_share, True), (1.0, False)):
        weights = [p for name, p in model.named_parameters() if name.startswith("visual.") == visual]
        for decay, matrices in ((0.05, True), (0.0, False)):
            params = [p for p in weights if (p.ndim >= 2) == matrices]
            groups.append({"params": params, "weight_decay": decay, "share": share})
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * peak * min(step / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        images, tokens, captions = next(stream)
        loss = contrastive_loss(*model(images, tokens), captions)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.logit_scale.data.clamp_(0, math.log(100))
        yield step, loss.item()
