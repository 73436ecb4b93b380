"""How much the prompts and the image change the frozen model's attention, layer by layer and head by head.

Axes: B batch, T tokens, H query heads, K adapter_len, D head size.

For one head of an adapted layer and one question of T prompt tokens, with the frozen attention's output O (T x D) and
the adapter's addition A = gate * (softmax(q k_P^T / sqrt(D)) v_P + W_v I_p) (`adapter.attention`):

    prompts  ||A|| / ||O||                        how much the adapter changes the head's output
    image    sqrt(T) ||gate * W_v I_p|| / ||O||   the image's share of it: the same vector at every token
    entropy  mean over tokens of the entropy, in nats, of the attention over the K prompts: 0 if one prompt gets
             all of it, log K if all get the same; the image does not change it

Norms are Frobenius norms over the question's tokens: no single token with a small output dominates.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from mmadapter.adapter.attention import LayerPrompts, frozen_attention, prompt_attention, prompt_weights
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.likelihood import adaption_of
from mmadapter.inference.rows import length_batches, pad_tokens
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import write_text

QUESTIONS = 200
"""Most questions measured: the standard error of a mean is then a fourteenth of the spread among questions."""
_RECORDING = "mmadapter-recording"
"""Name under which transformers knows the adapted attention that also measures."""


@dataclass(frozen=True)
class PromptAttention:
    """Effect of one adapter's prompts, averaged over questions."""

    n: int
    """Questions measured."""
    n_image: int
    """Questions with an image that this adapter saw."""
    adapter_len: int
    """K: entropy is at most log K."""
    heads: pd.DataFrame
    """A row for each head of each adapted layer: `layer` (in the frozen model, from 0), `head`, `gate` (after its
    activation), `prompts`, `image` (over questions with an image; NaN without any), `entropy`."""


@torch.no_grad()
def prompt_attention_of(
    model: MultimodalAdapter,
    data: Dataset,
    *,
    images: QuestionImages | None = None,
    questions: int = QUESTIONS,
    seed: int = 0,
) -> PromptAttention:
    """Measure an adapter on the prompts of randomly drawn questions.

    Args:
        data: one split.
        images: features of the data's images, if they are computed already; a text-only adapter needs none.
        questions: how many to draw at most.
        seed: of the draw.

    Raises:
        UserError: a broken image, or a question too long for the model.
    """
    data = data.only(set(random.Random(seed).sample(list(data.problems), min(questions, len(data)))))
    if images is None and model.tower is not None:
        images, data = question_images(model.tower, data, model.form, quiet=True)
    encoded = Encoder(model.llm, model.form)(data)
    device = model.llm.model.device
    records: list[_Record] = []
    for indices in length_batches(encoded):
        batch = [encoded[index] for index in indices]
        tokens = pad_tokens([question.prompt for question in batch]).to(device)
        lengths = torch.tensor([len(question.prompt) for question in batch], device=device)
        records.append(_Record(torch.arange(tokens.shape[1], device=device) < lengths[:, None]))
        with _recording(model), model.prompted(adaption_of(model, images, batch)):
            model.llm.model.get_decoder()(input_ids=tokens, use_cache=False, record=records[-1])
    return _means(model, records)


@dataclass(frozen=True)
class _Record:
    """Measurements of one batch."""

    real: Bool[Tensor, "B T"]
    """False for padding."""
    layers: dict[int, Float[Tensor, "B H 3"]] = field(default_factory=dict)
    """prompts, image (NaN for a question without one), entropy."""

    def add(
        self,
        layer: int,
        prompts: LayerPrompts,
        frozen: Float[Tensor, "B H T D"],
        added: Float[Tensor, "B H T D"],
        weights: Float[Tensor, "B H T K"],
    ) -> None:
        """Measure one layer: the frozen attention's output, the adapter's addition, its weights over the prompts."""
        real = self.real[:, None, :].float()
        size = _norm(frozen, real)
        image = torch.full_like(size, float("nan"))
        if prompts.image_value is not None:
            token = prompts.gate[:, None] * prompts.image_value[:, :, 0].float()
            share = token.norm(dim=-1) * real.sum(dim=-1).sqrt() / size
            image = torch.where(prompts.image_value.abs().amax(dim=(1, 2, 3))[:, None] > 0, share, image)
        entropy = (torch.special.entr(weights.float()).sum(dim=-1) * real).sum(dim=-1) / real.sum(dim=-1)
        self.layers[layer] = torch.stack([_norm(added, real) / size, image, entropy], dim=-1)


def _norm(output: Float[Tensor, "B H T D"], real: Float[Tensor, "B 1 T"]) -> Float[Tensor, "B H"]:
    return (output.float().square().sum(dim=-1) * real).sum(dim=-1).sqrt()


def _means(model: MultimodalAdapter, records: list[_Record]) -> PromptAttention:
    rows = []
    for gate, layer in zip(model.adapter().gates, sorted(records[0].layers), strict=True):
        measured = torch.cat([record.layers[layer] for record in records]).double()
        means = zip(gate.tolist(), *measured.nanmean(dim=0).unbind(dim=-1), strict=True)
        rows += [(layer, head, *map(float, values)) for head, values in enumerate(means)]
    return PromptAttention(
        n=len(measured),
        n_image=int(measured[:, 0, 1].isfinite().sum()),
        adapter_len=model.adapter.config.adapter_len,
        heads=pd.DataFrame(rows, columns=["layer", "head", "gate", "prompts", "image", "entropy"]),
    )


@contextmanager
def _recording(model: MultimodalAdapter) -> Iterator[None]:
    """Let forwards with `record=` measure what they compute."""
    config = model.llm.model.config
    usual = config._attn_implementation
    config._attn_implementation = _RECORDING
    try:
        yield
    finally:
        config._attn_implementation = usual


def _recorded_attention(module, query, key, value, attention_mask, scaling, softcap=None, *, record: _Record, **kwargs):
    """Compute what `adapter.attention` does, in the same order, and show its parts to `record`."""
    output = frozen_attention(module, query, key, value, attention_mask, softcap, scaling=scaling, **kwargs)
    prompts: LayerPrompts | None = getattr(module, "adaption", None)
    if prompts is not None:
        added = prompt_attention(query, prompts, scaling, softcap)
        weights = prompt_weights(query.float(), prompts._replace(key=prompts.key.float()), scaling, softcap)
        record.add(module.layer_idx, prompts, output.transpose(1, 2), added, weights)
        output = output + added.transpose(1, 2)
    return output, None


AttentionInterface.register(_RECORDING, _recorded_attention)
AttentionMaskInterface.register(_RECORDING, sdpa_mask)


def write_prompt_attention(measured: PromptAttention, file: Path) -> None:
    """Write measurements as JSON, for a report without a model."""
    heads = measured.heads.astype(object).where(measured.heads.notna(), None).to_dict(orient="records")
    content = {
        "questions": measured.n,
        "with_image": measured.n_image,
        "adapter_len": measured.adapter_len,
        "heads": [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in heads],
    }
    write_text(file, json.dumps(content, allow_nan=False) + "\n")
