"""What every contender works on: a backbone with random weights, and questions as long as ScienceQA's.

Time and memory depend on the sizes of a model and the lengths of its sequences, not on what weights and tokens say:
both are drawn at random. The lengths are real.
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
    """Of a LLaMA and of a batch."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    batch: int
    features: tuple[int, ...]
    """Of the image scales."""


SIZES = {
    "tiny": Size(64, 4, 4, 172, 4, (32,) * 4),
    "small": Size(512, 8, 8, 1376, 8, (256,) * 4),
    "7b": Size(4096, 32, 32, 11008, 64, (1024,) * 4),
}
"""7b is LLaMA-7B under the paper's batch and image tower."""

IMAGE_SHARE = 0.48
"""Of ScienceQA's questions that have an image."""

LETTER_LEAD, LETTER_TAIL = 4, 2
"""Tokens of " The answer is (" before the letter, and after it those of ")." and the end of text."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every benchmark of the language model can be told."""

    size: Literal["tiny", "small", "7b"] = "small"
    """Of the backbone: hidden 64, hidden 512 with 8 layers, or LLaMA-7B."""
    vocabulary: int = 32_000
    """Words of the head; 1,000 gives a small model the share of work that the head has in a large one."""
    adapter_len: int = 10
    """K, adaption prompts in each adapted layer."""
    adapter_layers: int | None = None
    """L, adapted layers. Default: the paper's share of the backbone's layers, 30 of 32."""
    batch: int | None = None
    """Problems an optimiser step, and questions a batch of the other scorers. Default: 4 (tiny), 8 (small), 64 (7b)."""
    questions: int = 256
    """How many are worked on in each round."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights. auto: float32 on a CPU, bfloat16 on a GPU."""
    compile: bool = False
    """Time mmadapter with compiled layers as well: true needs a C++ compiler and a minute to start."""
    rounds: int = 5
    """How often each contender is timed."""
    seconds: float = 1800
    """No further round is begun after so many."""
    seed: int = 0
    """Of weights, tokens, lengths and orders."""
    output: Path | None = Path(__file__).parent / "results"
    """Folder of the result file."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: a number out of its range, no such device, or a precision that it does not serve.
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
        """Of a result file's name."""
        return f"{self.size}-vocabulary-{self.vocabulary}-layers-{self.adapter_layers}"

    def synchronise(self) -> None:
        """Wait until the device has done what it was told."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


class Shape(NamedTuple):
    """Lengths of one question in tokens."""

    prompt: int
    shared: int
    """What all options start with."""
    options: tuple[int, ...]
    """What follows for each of them, the end of text included for option texts."""


def backbone(settings: Settings) -> LlamaForCausalLM:
    """A frozen LLaMA with random weights, made on its device."""
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
    """The same weights in modules of their own, with another attention kernel."""
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    other = copy.deepcopy(model, weights)
    other.set_attn_implementation(attention)
    return other


def fused_twin(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The same weights with mmadapter's attention, in layers that torch.compile fuses (`--compile`)."""
    other = twin(model, ATTENTION_NAME)
    compile_decoder(other)
    return other


def adapted(settings: Settings, model: LlamaForCausalLM, *, text_only: bool) -> MultimodalAdapter:
    """Our adapter on the backbone; without an image tower, for there are features and no pictures."""
    size = SIZES[settings.size]
    config = AdapterConfig(
        hidden_size=size.hidden,
        num_heads=size.heads,
        adapter_len=settings.adapter_len,
        adapter_layers=settings.adapter_layers,
        feature_sizes=() if text_only else size.features,
    )
    tokenizer = AutoTokenizer.from_pretrained(embedded("tiny-llama"))  # never asked: questions are tokens already
    return MultimodalAdapter(LanguageModel(model, tokenizer, settings.size), Adapter(config, seed=settings.seed))


def questions(settings: Settings, answer: Literal["letter", "text"] = "letter") -> tuple[list[Encoded], str]:
    """Questions of random tokens and of ScienceQA's lengths, and where the lengths come from.

    They are spread evenly over the sorted lengths, so that few of them have the distribution of all.
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
    def tokens(count: int) -> list[int]:
        return random.integers(3, vocabulary, count).tolist()

    prompt, lead = tokens(shape.prompt), tokens(shape.shared)
    first = random.choice(np.arange(3, vocabulary), len(shape.options), replace=False).tolist()  # where options part
    options = [[*lead, token, *tokens(length - 1)] for token, length in zip(first, shape.options, strict=True)]
    right = int(random.integers(len(options)))
    target = options[right] + (tokens(LETTER_TAIL) if answer == "letter" else [])
    return Encoded(pid, prompt, target, options, right, truncated=False)


def common_length(options: Sequence[Sequence[int]]) -> int:
    """How many tokens all options start with, the last of each left out."""
    shared = 0
    for tokens in zip(*(option[:-1] for option in options), strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return shared


def images(settings: Settings, asked: Sequence[Encoded]) -> QuestionImages:
    """Random features for ScienceQA's share of the questions."""
    random = np.random.default_rng(settings.seed)
    pids = [question.pid for question in asked if random.random() < IMAGE_SHARE]
    features = torch.from_numpy(random.standard_normal((len(pids), sum(SIZES[settings.size].features)), np.float32))
    return QuestionImages(features, {pid: row for row, pid in enumerate(pids)})


def real_tokens(asked: Sequence[Encoded]) -> int:
    """Tokens that a training has to read: prompts and all but the last token of the answers."""
    return sum(len(question.read_tokens) for question in asked)


QUANTILES = (*(at / 20 for at in range(20)), 0.99, 1.0)
PROMPT_QUANTILES = {
    "letter": (26, 35, 38, 39, 40, 42, 43, 45, 48, 52, 57, 61, 67, 72, 77, 84, 96, 110, 126, 175, 244, 438),
    "text": (21, 28, 30, 31, 32, 35, 37, 39, 42, 46, 51, 55, 60, 64, 70, 78, 90, 103, 120, 165, 238, 426),
}
"""Of the prompt lengths of the ScienceQA test split, in SmolLM2's tokens; mean 72 and 66."""
OPTION_QUANTILES = (1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7, 9, 11, 14, 17, 29, 58)
"""The same of its option texts with their end, from where they part."""
OPTION_COUNTS = {2: 0.525, 3: 0.229, 4: 0.237, 5: 0.009}
"""Share of its questions that have so many options."""


def scienceqa_shapes(answer: str, random: np.random.Generator) -> tuple[list[Shape], str]:
    """Lengths of the real test split, where MMADAPTER_SCIENCEQA names its folders, or drawn like them."""
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
            "the lengths of real questions are measured with SmolLM2's tokenizer, which is not here\n"
            "  fetch it with `python -m mmadapter.backbone.smollm2`, or unset MMADAPTER_SCIENCEQA"
        )
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    with torch.device("meta"):  # only the tokenizer is asked
        nothing = LlamaForCausalLM(LlamaConfig(num_hidden_layers=0))
    encode = Encoder(LanguageModel(nothing, tokenizer, "SmolLM2"), InputFormat(answer=answer, max_tokens=2048))
    shapes = []
    for question in encode(load_dataset("scienceqa", folders)["test"]):
        shared = common_length(question.options)
        shapes.append(Shape(len(question.prompt), shared, tuple(len(option) - shared for option in question.options)))
    return shapes, f"the ScienceQA test split, {len(shapes):,} questions, in SmolLM2's tokens"
