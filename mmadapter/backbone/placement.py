"""How the frozen layers are held: compiled, quantised, sharded among processes, or offloaded to main memory.

`shard` and `offload` work on single matrices. Each is brought to the GPU just before its linear layer multiplies and
is given up right after. So every caller of a linear layer gets the whole matrix, even outside the forward of its
decoder layer, as when prompts are projected (`adapter.attention`); no other module needs to know. Norms and biases,
a thousandth of the weights, always stay whole on the device. The numbers multiplied are the same: so are the bits.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MethodType
from typing import Literal

import torch
from accelerate import PartialState
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import BitsAndBytesConfig, GgufConfig, PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.meta_checkpoint import is_meta_folder
from mmadapter.errors import UserError, require

Quantisation = Literal["none", "8bit", "4bit"]


def quantisation_config(
    name: str, path: Path, quantise: Quantisation, dtype: torch.dtype
) -> QuantizationConfigMixin | None:
    """Return the `quantization_config` for transformers' `from_pretrained`.

    Raises:
        UserError: the weights cannot be quantised, or bitsandbytes is missing.
    """
    if quantise == "none":  # packed GGUF weights compute in float32, at a third of the speed
        return GgufConfig(dequantize=True) if path.suffix == ".gguf" else None
    if path.suffix == ".gguf" or is_meta_folder(path):
        raise UserError(f"--quantise {quantise}: --llm {name}: only weights in safetensors can be quantised on loading")
    require("bitsandbytes", extra="quantise", what=f"--quantise {quantise}")
    if quantise == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def compile_decoder(model: PreTrainedModel) -> None:
    """Let torch.compile fuse the small operations of every decoder layer during its first forwards.

    Raises:
        UserError: torch.compile needs a C++ compiler, and there is none.
    """
    if model.device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise UserError("--compile: torch.compile needs a C++ compiler, and found none") from error
    # All layers share the compiled variants: with and without prompts, image, mask and gradient. Beyond the limit,
    # 8 by default, further variants would not be compiled.
    torch._dynamo.config.recompile_limit = 32
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)


def check_processes(sharded: bool) -> None:
    """Check that the processes of this run fit its settings.

    Raises:
        UserError: accelerate's own FSDP is on, or `sharded` with a single process.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false") == "true":
        raise UserError(
            "accelerate's FSDP shards what is trained, a few megabytes here: leave out --use_fsdp; see --shard"
        )
    if sharded and PartialState().num_processes == 1:
        raise UserError(
            "--shard: there is only one process, which would hold the whole model\n"
            "  torchrun --nproc-per-node N --no-python mmadapter-train ... starts N, one for each GPU"
        )


def shard(llm: LanguageModel, device: torch.device) -> None:
    """Keep only this process's share of each matrix, on `device`; PyTorch's FSDP2 gathers it for each product.

    The adapter stays whole in every process. Every forward is one of all processes together (`processes.in_step`),
    and none may run under `torch.inference_mode`: a matrix gathered there cannot be used in training.

    Args:
        llm: the whole model, in main memory where no single GPU has room for it.

    Raises:
        UserError: as `check_processes`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    check_processes(sharded=True)
    mesh, model = init_device_mesh(device.type, (PartialState().num_processes,)), llm.model
    embedding = model.get_input_embeddings()
    tied = model.get_output_embeddings().weight is embedding.weight
    if tied:
        model.lm_head = _TiedHead(embedding)
    for module in tuple(model.modules()):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            vectors = {parameter for parameter in module.parameters() if parameter.ndim == 1}
            fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=vectors)
    if tied:
        register_fsdp_forward_method(embedding, _AS_HEAD)
    model.to(device)  # norms, biases and buffers
    model._is_fsdp_managed_module = True  # makes transformers' `generate` go on until every process is done


_AS_HEAD = "as_head"


class _TiedHead(nn.Module):
    """An output head that uses the matrix of the input embedding, which is gathered there."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        setattr(embedding, _AS_HEAD, MethodType(lambda words, hidden: linear(hidden, words.weight), embedding))
        self._embedding = (embedding,)  # in a tuple: not registered here a second time

    def forward(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        return getattr(self._embedding[0], _AS_HEAD)(hidden)


def offload(llm: LanguageModel, device: torch.device) -> None:
    """Keep the layers' matrices in main memory, where they are, and everything else on `device`.

    The backward pass needs the same matrices. Those used by a forward stay on the GPU until then, unless the layer
    is recomputed: `--checkpointing` does so for all adapted layers but the last. The key and value matrices of
    adapted layers always stay, since the prompts went through them.

    accelerate's own hooks would take away the biases too, which `adapter.attention` reads.
    """
    matrices = {module for module in llm.layers.modules() if isinstance(module, nn.Linear)}
    for module in llm.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if module not in matrices or name != "weight":
                parameter.data = parameter.data.to(device)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    for module in matrices:
        _fetch_when_used(module, device)


def _fetch_when_used(layer: nn.Linear, device: torch.device) -> None:
    stored = layer.weight.data.pin_memory() if device.type == "cuda" else layer.weight.data
    empty = nn.Parameter(torch.empty_like(stored, device="meta"), requires_grad=False)

    def fetch(module: nn.Module, inputs: object) -> None:
        module.weight = nn.Parameter(stored.to(device, non_blocking=True), requires_grad=False)

    def release(module: nn.Module, inputs: object, output: object) -> None:
        module.weight = empty

    layer.weight = empty
    layer.register_forward_pre_hook(fetch)
    layer.register_forward_hook(release, always_call=True)
