"""Text after prompts, by transformers' own `generate`: greedy, or sampled from the likeliest tokens.

Call it inside `model.prompted(...)`: keys and values of the adaption prompts and the image token are computed once on
entry, and those of the words are cached from step to step.
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
    """Return the model's text after each prompt, up to its end-of-text token or `max_new_tokens`.

    Args:
        prompts: tokens; the padding on their left does not change the text.
        temperature: 0 is greedy.
        top_p: samples from the likeliest tokens that have this share of the probability.
        streamer: gets the tokens one by one, for a single prompt.
    """
    tokenizer, device = llm.tokenizer, llm.model.device
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    greedy = temperature == 0
    tokens = llm.model.generate(
        input_ids=torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device),
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
