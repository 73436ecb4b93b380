"""Text after prompts, by transformers' own `generate`: the likeliest token each time, or drawn from the likely ones.

Everything here happens inside `model.prompted(...)`: the adaption prompts' keys and values, the image's included, are
computed once for whatever is generated in it, and those of the words are cached from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import TextStreamer

from mmadapter.backbone import LanguageModel


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
    """What the model says after each prompt, up to its end-of-text token or `max_new_tokens`.

    Args:
        prompts: tokens; padded on the left, which changes nothing.
        temperature: 0 is greedy.
        top_p: share of the probability, most probable tokens first, that is drawn from.
        streamer: gets the text as it comes; of a single prompt.
    """
    model, tokenizer = llm.model, llm.tokenizer
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padding = [width - len(prompt) for prompt in prompts]
    padded = [[pad] * missing + list(prompt) for missing, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * missing + [1] * (width - missing) for missing in padding]
    drawn = {"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else dict.fromkeys(_DRAWING)
    tokens = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
        streamer=streamer,
        **drawn,
    )
    return tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True)


_DRAWING = ("temperature", "top_p", "top_k")
