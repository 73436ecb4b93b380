"""Generate text with transformers' own `generate`, greedily or by sampling.

Call it inside `model.prompted(...)`: keys and values of prompts and image are then computed once, and those of the
words cached from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import TextStreamer

from mmadapter.backbone.language_model import LanguageModel


@torch.no_grad()
def generate(
    llm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    streamer: TextStreamer | None = None,
) -> list[str]:
    """Continue each prompt up to the end-of-text token or `max_new_tokens`.

    Args:
        prompts: tokens; padded on the left, which changes nothing.
        temperature: 0 is greedy.
        top_p: share of the probability to draw from, likeliest tokens first.
        streamer: receives the tokens of a single prompt as they come.
    """
    model, tokenizer = llm.model, llm.tokenizer
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    missing = [width - len(prompt) for prompt in prompts]
    padded = [[pad] * count + list(prompt) for count, prompt in zip(missing, prompts, strict=True)]
    mask = [[0] * count + [1] * (width - count) for count in missing]
    greedy = temperature == 0
    tokens = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        max_new_tokens=max_new_tokens,
        do_sample=not greedy,
        temperature=None if greedy else temperature,
        top_p=None if greedy else top_p,
        top_k=None if greedy else 0,  # transformers' default is 50
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
        streamer=streamer,
    )
    return tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True)
