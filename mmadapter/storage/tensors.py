"""Our own safetensors files: written whole and with a checksum, so that a damaged file is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmadapter.storage.files import write_whole

CHECKSUM = "sha256"
"""The checksum's key in the file's metadata."""


class Damaged(Exception):
    """A file differs from what was written; the text says how, without the file's name."""


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str], *, previous: Path | None = None
) -> None:
    """Write tensors of any device, and texts about them, with `write_whole`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(tensors, {**about, CHECKSUM: _checksum(tensors, about)})
    write_whole(path, lambda part: part.write_bytes(data), previous=previous)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote: the tensors, on the CPU and in memory of their own, and the texts.

    Raises:
        Damaged: the file differs from what was written.
        FileNotFoundError: there is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned: tensors in a mapped file may be aligned differently, and sums over them differ in the last bit.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            about = file.metadata() or {}
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as error:
        raise Damaged(" ".join(str(error).split())) from error
    expected = about.pop(CHECKSUM, None)
    if expected is None:
        raise Damaged("it has no checksum")
    if expected != _checksum(tensors, about):
        raise Damaged("its checksum is another one")
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(about.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
