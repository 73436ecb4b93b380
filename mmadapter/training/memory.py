"""Count the tensors that a training needs at its peak, before anything is downloaded or loaded.

Weights are counted on a model without numbers. Activations are counted by training one adapted layer on tensors
without numbers (`FakeTensorMode`) and adding up what autograd keeps: every adapted layer keeps as much. The peak has

    weights      every parameter of the language model, in its precision or its quantised bits; for a sharded model
                 this process' part; with `--offload` only the layers in use and what a backward waits for
    activations  what L adapted layers keep for the backward pass; with `--checkpointing` the input of each of them
                 and what one layer keeps
    logits       at the positions that are read, in the model's precision and three times in float32: the logits,
                 their log-softmax and its gradient

It counts tensors, not the process: the image tower, the adapter with its optimiser, the data, the libraries and what
an allocator holds back come on top. On a CPU they were 0.7 GB for `tiny` and 3.1 GB for `small` (`config.presets`).
The count is never below the allocator's peak for activations and logits, and at most 1.45 times it (tests).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from mmadapter.adapter.attention import ATTENTION_NAME, attach, project_prompts
from mmadapter.backbone.device import resolve_dtype
from mmadapter.backbone.loading import read_config, skeleton
from mmadapter.backbone.placement import Quantisation
from mmadapter.config.presets import PRESETS, adapted_layers
from mmadapter.config.settings import INSTRUCTIONS, RunConfig
from mmadapter.errors import UserError

ANSWER_TOKENS = 16
"""Answer tokens that are read in each row."""
OPTIONS = 3
"""Options of each question, which the choice loss reads. With the above 768 positions in a batch of 16; in
ScienceQA's batches they are 765 at most, with SmolLM2's tokens."""

SHARE = 0.15
"""Share of activations and logits that is added for what is being computed when most is kept."""
LIBRARIES = 300_000_000
"""Bytes of code and work space that are loaded after the count."""

_BITS = {"8bit": 8.0, "4bit": 4.0 + 8 / 64 + 32 / 64 / 256}
"""Bits of a quantised weight; 4 bits with an 8-bit scale for each 64, and a scale for each 256 scales."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a training's tensors at its peak."""

    weights: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + round((1 + SHARE) * (self.activations + self.logits)) + LIBRARIES


def check_memory(config: RunConfig, device: torch.device) -> Memory:
    """Count what a run's training needs, and check that the device has it.

    Only the model's configuration is read, or downloaded.

    Raises:
        UserError: more than is free, with settings that would fit; or as `read_config`.
    """
    llm = read_config(config.llm)
    needed, free = training_memory(config, llm, device), free_memory(device)
    if config.offload and device.type != "cpu":
        held, main = weight_bytes(skeleton(llm), resolve_dtype(config.dtype, device)), free_memory(torch.device("cpu"))
        if held > main:
            raise UserError(
                f"--offload: --llm {config.llm} has {_gigabytes(held)} GB, main memory {_gigabytes(main)} GB free"
            )
    if needed.total > free:
        fitting = []
        for flags, other in _smaller(config, device):
            with suppress(UserError):  # a model that is not at hand is no suggestion
                memory = training_memory(other, read_config(other.llm) if other.llm != config.llm else llm, device)
                fitting += [f"{flags} ({_gigabytes(memory.total)} GB)"] if memory.total <= free else []
        parts = {"weights": needed.weights, "activations": needed.activations, "logits": needed.logits}
        raise UserError(
            f"--llm {config.llm}: its training needs about {_gigabytes(needed.total)} GB "
            f"({', '.join(f'{name} {_gigabytes(size)}' for name, size in parts.items())}; tensors alone), "
            f"{device} has {_gigabytes(free)} GB free\n"
            f"  these would fit: {', '.join(fitting) or 'none of the usual: choose a smaller model'}"
        )
    return needed


def training_memory(config: RunConfig, llm: PreTrainedConfig, device: torch.device) -> Memory:
    """Count the tensors of a training.

    Args:
        llm: the configuration of the language model that `config` names.
    """
    dtype = resolve_dtype(config.dtype, device)
    tokens = min(config.forward_tokens, config.batch_size * config.max_tokens)
    layers = min(adapted_layers(config, llm.num_hidden_layers), llm.num_hidden_layers)
    row = min(config.max_tokens, tokens)
    kept, enters = kept_by_a_layer(llm, (math.ceil(tokens / row), row), config.adapter_len, dtype)
    activations = layers * enters + kept if config.checkpointing else layers * kept
    answers = config.batch_size * ANSWER_TOKENS * (OPTIONS if config.choice_loss else 1)
    read = tokens if config.dataset in INSTRUCTIONS else min(tokens, answers)
    logits = read * llm.vocab_size * (dtype.itemsize + 3 * torch.float32.itemsize)
    model = skeleton(llm)
    weights = weight_bytes(model, dtype, config.quantise)
    if config.shard:  # a part, and the largest matrix whole while it is multiplied
        largest = max(parameter.numel() for parameter in model.parameters())
        weights = weights // PartialState().num_processes + largest * dtype.itemsize
    if config.offload and device.type != "cpu":
        top = model.get_decoder().layers[-1]
        waiting = sum(_matrix_bytes(part, dtype) for part in (top.self_attn.k_proj, top.self_attn.v_proj))
        # there are the last layer, one that is computed again, and one on its way
        weights += (3 - llm.num_hidden_layers) * _matrix_bytes(top, dtype) + layers * waiting
    return Memory(weights, activations, logits)


def weight_bytes(model: PreTrainedModel, dtype: torch.dtype, quantise: Quantisation = "none") -> int:
    """Bytes of every parameter, a tied one once. Only the layers' matrices are quantised, not words or head."""
    packed = {
        id(module.weight)
        for module in (model.get_decoder().layers.modules() if quantise != "none" else ())
        if isinstance(module, nn.Linear)
    }
    bits = [
        parameter.numel() * (_BITS[quantise] if id(parameter) in packed else 8 * dtype.itemsize)
        for parameter in model.parameters()
    ]
    return round(sum(bits) / 8)


def _matrix_bytes(part: nn.Module, dtype: torch.dtype) -> int:
    return dtype.itemsize * sum(module.weight.numel() for module in part.modules() if isinstance(module, nn.Linear))


def kept_by_a_layer(
    config: PreTrainedConfig, shape: tuple[int, int], adapter_len: int, dtype: torch.dtype
) -> tuple[int, int]:
    """Bytes that autograd keeps of one adapted layer between forward and backward, and bytes that enter it.

    Args:
        shape: rows, and tokens in each row, of a forward.
    """
    with FakeTensorMode():
        model = AutoModelForCausalLM.from_config(_one_layer(config), attn_implementation=ATTENTION_NAME, dtype=dtype)
        decoder = model.requires_grad_(False).eval().get_decoder()
        attention = decoder.layers[0].self_attn
        decoder.layers[0], decoder.norm = _Unmasked(decoder.layers[0]), nn.Identity()
        # only of tensors that stay: where a freed one lay, one that is kept may come to lie
        frozen = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        hidden = torch.zeros(*shape, config.hidden_size, dtype=dtype, requires_grad=True)
        prompts = torch.zeros(adapter_len, config.hidden_size, requires_grad=True)
        gate = torch.zeros(config.num_attention_heads, requires_grad=True)
        kept: dict[int, tuple[object, int]] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in frozen:
                kept[storage._cdata] = storage, storage.nbytes()  # held, so that no other comes to lie there
            return tensor

        image_token = torch.zeros(shape[0], config.hidden_size, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            attach(attention, project_prompts(attention, prompts, gate.tanh(), image_token))
            decoder(inputs_embeds=hidden, use_cache=False)
    return sum(size for _, size in kept.values()), math.prod(shape) * config.hidden_size * dtype.itemsize


class _Unmasked(nn.Module):
    """A layer that gets a mask only where its window is narrower than the row.

    On tensors without numbers transformers always makes a mask; in training the causal kernel needs none.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor, *, attention_mask: Tensor | None, **inputs: object) -> Tensor:
        window = getattr(self.layer.self_attn, "sliding_window", None)
        if window is None or hidden.shape[1] <= window:
            attention_mask = None
        return self.layer(hidden, attention_mask=attention_mask, **inputs)


def _one_layer(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration of the topmost layer alone, without words."""
    one = top_layers(config, 1)
    one.vocab_size, one.pad_token_id = 1, None
    return one


def top_layers(config: PreTrainedConfig, count: int) -> PreTrainedConfig:
    """The configuration of a model of the topmost layers alone."""
    top = copy.deepcopy(config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(top, name, value[-count:])
    top.num_hidden_layers = count
    return top


def free_memory(device: torch.device) -> int:
    """Bytes free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available


def _smaller(config: RunConfig, device: torch.device) -> Iterator[tuple[str, RunConfig]]:
    """Yield settings that need less memory, those first that change the result least."""
    for tokens in (2048, 1024, 512):
        if tokens < config.forward_tokens:
            yield f"--forward-tokens {tokens}", replace(config, forward_tokens=tokens)
    if not config.checkpointing:
        yield "--checkpointing", replace(config, checkpointing=True)
    least = replace(config, forward_tokens=min(config.forward_tokens, 512), checkpointing=True, offload=False)
    told = "--checkpointing --forward-tokens 512"
    if config.dtype != "bfloat16":
        yield f"--dtype bfloat16 {told}", replace(least, dtype="bfloat16")
    if device.type != "cpu" and not (config.offload or config.shard):
        whole = replace(least, compile=False, store_activations=False, quantise="none")
        stored = " --no-store-activations" if config.store_activations else ""
        yield f"--offload {told}{stored}", replace(whole, offload=True)
    for bits in ("8bit", "4bit"):
        if config.quantise != bits and not config.shard:
            yield f"--quantise {bits} {told}", replace(least, quantise=bits, dtype="bfloat16")
    small = PRESETS["small"]
    if config.llm != small.llm:
        yield "--preset small", replace(config, preset="small", llm=small.llm, adapter_layers=small.adapter_layers)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f}"
