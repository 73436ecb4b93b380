"""The contenders' workload: a backbone with random weights, and questions as long as ScienceQA's.

Time and memory depend on the sizes of a model and on the lengths of its sequences. So weights and tokens are random,
and the lengths are real.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.measure import Timing
from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.adapter.parameters import Adapter, AdapterConfig
from mmadapter.backbone.device import resolve_device
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.placement import compile_decoder
from mmadapter.errors import UserError
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.storage.paths import embedded


class Size(NamedTuple):
    """Sizes of a LLaMA, of a batch and of image features."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    batch: int
    features: tuple[int, ...]
    """Features of each image scale."""


SIZES = {
    "tiny": Size(64, 4, 4, 172, 4, (32,) * 4),
    "small": Size(512, 8, 8, 1376, 8, (256,) * 4),
    "7b": Size(4096, 32, 32, 11008, 64, (1024,) * 4),
}
"""7b is LLaMA-7B with the paper's batch and image tower."""

IMAGE_SHARE = 0.48
"""Share of ScienceQA's questions that have an image."""

LETTER_LEAD, LETTER_TAIL = 4, 2
"""Tokens of " The answer is (" before the letter, and of ")." and the end of text after it."""


@dataclass(frozen=True, kw_only=True)
class Settings(Timing):
    """Settings of every benchmark of the language model."""

    size: Literal["tiny", "small", "7b"] = "small"
    """Size of the backbone: hidden 64, hidden 512 with 8 layers, or LLaMA-7B."""
    vocabulary: int = 32_000
    """Words of the head. With 1,000 the head's share of the work in a small model is that in a large one."""
    adapter_len: int = 10
    """K, adaption prompts in each adapted layer."""
    adapter_layers: int | None = None
    """L, adapted layers. Default: the paper's share of the backbone's layers, 30 of 32."""
    batch: int | None = None
    """Problems an optimiser step, and questions a batch of the peers. Default: 4 (tiny), 8 (small), 64 (7b)."""
    questions: int = 256
    """Questions in each round."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights. auto: float32 on a CPU, bfloat16 on a GPU."""
    compile: bool = False
    """Also time mmadapter with compiled layers, which needs a C++ compiler and a minute to start."""
    seed: int = 0
    """Seed of weights, tokens, lengths and orders."""

    def __post_init__(self) -> None:
        """Check the settings and fill in the defaults.

        Raises:
            UserError: a number out of range, an unknown device, or a precision that it lacks.
        """
        for name in ("rounds", "questions", "adapter_len"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        size = SIZES[self.size]
        if self.vocabulary < 100:
            raise UserError(f"vocabulary is {self.vocabulary}: it must be at least 100")
        if self.adapter_layers is not None and not 1 <= self.adapter_layers <= size.layers:
            raise UserError(f"adapter_layers is {self.adapter_layers}: choose 1 to {size.layers}")
        device = "meta" if self.device == "meta" else str(resolve_device(self.device))
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "batch", self.batch or size.batch)
        if self.dtype == "auto":
            object.__setattr__(self, "dtype", "bfloat16" if device.startswith("cuda") else "float32")
        if device.startswith("cuda") and self.dtype == "float32":
            raise UserError("dtype is float32: on a GPU the limit's packed attention needs bfloat16")
        if self.adapter_layers is None:
            object.__setattr__(self, "adapter_layers", max(1, int(size.layers * 30 / 32)))

    @property
    def tag(self) -> str:
        """Part of a result file's name."""
        return f"{self.size}-vocabulary-{self.vocabulary}-layers-{self.adapter_layers}"

    def synchronise(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


class Shape(NamedTuple):
    """Lengths of one question in tokens."""

    prompt: int
    shared: int
    """Tokens with which all options start."""
    options: tuple[int, ...]
    """Tokens that follow in each option, with the end of text for option texts."""


def backbone(settings: Settings) -> LlamaForCausalLM:
    """Return a frozen LLaMA with random weights on its device."""
    size = SIZES[settings.size]
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=2048,
    )
    torch.manual_seed(settings.seed)
    with torch.device(settings.device):
        model = LlamaForCausalLM._from_config(
            config, dtype=getattr(torch, settings.dtype), attn_implementation=ATTENTION_NAME
        )
    return model.eval().requires_grad_(False)


def twin(model: LlamaForCausalLM, attention: str = "sdpa") -> LlamaForCausalLM:
    """Return new modules with the same weights and another attention kernel."""
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    other = copy.deepcopy(model, weights)
    other.set_attn_implementation(attention)
    return other


def fused_twin(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return new modules with the same weights and mmadapter's attention, fused by torch.compile (`--compile`)."""
    other = twin(model, ATTENTION_NAME)
    compile_decoder(other)
    return other


def adapted(settings: Settings, model: LlamaForCausalLM, *, text_only: bool) -> MultimodalAdapter:
    """Return our adapter on the backbone, without an image tower: the features are random."""
    size = SIZES[settings.size]
    config = AdapterConfig(
        hidden_size=size.hidden,
        num_heads=size.heads,
        adapter_len=settings.adapter_len,
        adapter_layers=settings.adapter_layers,
        feature_sizes=() if text_only else size.features,
    )
    tokenizer = AutoTokenizer.from_pretrained(embedded("tiny-llama"))  # unused: questions are tokens already
    return MultimodalAdapter(LanguageModel(model, tokenizer, settings.size), Adapter(config, seed=settings.seed))


def questions(settings: Settings, answer: Literal["letter", "text"] = "letter") -> tuple[list[Encoded], str]:
    """Return questions of random tokens with ScienceQA's lengths, and the source of the lengths.

    They are spread evenly over the sorted lengths, so that a few have the distribution of all.
    """
    random = np.random.default_rng(settings.seed)
    shapes, source = scienceqa_shapes(answer, random)
    shapes = sorted(shapes, key=lambda shape: shape.prompt)
    spread = (np.arange(settings.questions) + 0.5) / settings.questions * len(shapes)
    chosen = [shapes[int(at)] for at in spread]
    order = random.permutation(len(chosen))
    return [
        encoded(str(pid), chosen[index], answer, settings.vocabulary, random) for pid, index in enumerate(order)
    ], source


def encoded(pid: str, shape: Shape, answer: str, vocabulary: int, random: np.random.Generator) -> Encoded:
    """Return a question of random tokens."""

    def tokens(count: int) -> list[int]:
        return random.integers(3, vocabulary, count).tolist()

    prompt, lead = tokens(shape.prompt), tokens(shape.shared)
    first = random.choice(np.arange(3, vocabulary), len(shape.options), replace=False).tolist()  # the first difference
    options = [[*lead, token, *tokens(length - 1)] for token, length in zip(first, shape.options, strict=True)]
    right = int(random.integers(len(options)))
    target = options[right] + (tokens(LETTER_TAIL) if answer == "letter" else [])
    return Encoded(pid, prompt, target, options, right, truncated=False)


def common_length(options: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens with which all options start, not counting the last of each."""
    shared = 0
    for tokens in zip(*(option[:-1] for option in options), strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return shared


def images(settings: Settings, asked: Sequence[Encoded]) -> QuestionImages:
    """Return random features for ScienceQA's share of questions with an image."""
    random = np.random.default_rng(settings.seed)
    pids = [question.pid for question in asked if random.random() < IMAGE_SHARE]
    features = torch.from_numpy(random.standard_normal((len(pids), sum(SIZES[settings.size].features)), np.float32))
    return QuestionImages(features, {pid: row for row, pid in enumerate(pids)})


def real_tokens(asked: Sequence[Encoded]) -> int:
    """Return the number of tokens that a training has to read: prompts, and answers without their last token."""
    return sum(len(question.read_tokens) for question in asked)


QUANTILES = (*(at / 20 for at in range(20)), 0.99, 1.0)
PROMPT_QUANTILES = {
    "letter": (26, 35, 38, 39, 40, 42, 43, 45, 48, 52, 57, 61, 67, 72, 77, 84, 96, 110, 126, 175, 244, 438),
    "text": (21, 28, 30, 31, 32, 35, 37, 39, 42, 46, 51, 55, 60, 64, 70, 78, 90, 103, 120, 165, 238, 426),
}
"""Quantiles of the prompt lengths of the ScienceQA test split, in SmolLM2's tokens; mean 72 and 66."""
OPTION_QUANTILES = (1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7, 9, 11, 14, 17, 29, 58)
"""Quantiles of its option texts' lengths, from their first difference to the end of text."""
OPTION_COUNTS = {2: 0.525, 3: 0.229, 4: 0.237, 5: 0.009}
"""Share of its questions with so many options."""


def scienceqa_shapes(answer: str, random: np.random.Generator) -> tuple[list[Shape], str]:
    """Return the lengths of the real test split if MMADAPTER_SCIENCEQA names its folders, else drawn ones."""
    if folders := os.environ.get("MMADAPTER_SCIENCEQA"):
        return _real_shapes([Path(folder) for folder in folders.split(os.pathsep)], answer)
    shapes = []
    for prompt in np.interp(random.random(4000), QUANTILES, PROMPT_QUANTILES[answer]):
        count = random.choice(list(OPTION_COUNTS), p=list(OPTION_COUNTS.values()))
        if answer == "letter":
            shapes.append(Shape(int(prompt), LETTER_LEAD, (1,) * count))
        else:
            lengths = np.interp(random.random(count), QUANTILES, OPTION_QUANTILES)
            shapes.append(Shape(int(prompt), 0, tuple(map(int, lengths))))
    return shapes, "drawn from quantiles of the ScienceQA test split"


def _real_shapes(folders: list[Path], answer: str) -> tuple[list[Shape], str]:
    from mmadapter.backbone.smollm2 import find_smollm2
    from mmadapter.config.settings import InputFormat
    from mmadapter.data import load_dataset
    from mmadapter.inference.tokenising import Encoder

    file = find_smollm2()
    if file is None:
        raise UserError(
            "the lengths of real questions are measured with SmolLM2's tokenizer, which is missing\n"
            "  fetch it with `python -m mmadapter.backbone.smollm2`, or unset MMADAPTER_SCIENCEQA"
        )
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    with torch.device("meta"):  # only the tokenizer is used
        nothing = LlamaForCausalLM(LlamaConfig(num_hidden_layers=0))
    encode = Encoder(LanguageModel(nothing, tokenizer, "SmolLM2"), InputFormat(answer=answer, max_tokens=2048))
    shapes = []
    for question in encode(load_dataset("scienceqa", folders)["test"]):
        shared = common_length(question.options)
        shapes.append(Shape(len(question.prompt), shared, tuple(len(option) - shared for option in question.options)))
    return shapes, f"the ScienceQA test split, {len(shapes):,} questions, in SmolLM2's tokens"
