"""Read files of `torch.save` so that nothing in them runs and nothing takes more memory than the file has bytes."""

from __future__ import annotations

import io
import pickle
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mmadapter.adapter.weights import MAX_WEIGHTS
from mmadapter.errors import UserError
from mmadapter.storage.files import write_whole
from mmadapter.storage.pickles import check_pickle
from mmadapter.storage.untrusted import loading_errors, short


def read_torch_file(file: Path) -> dict[str, Tensor]:
    """The tensors by name, as the file holds them: any dtype and shape, not yet copied.

    A checkpoint, `{"model": {...}}`, is read too.

    Raises:
        UserError: no such file, not one of `torch.save`, larger than MAX_WEIGHTS, or with something else in it.
    """
    if not file.exists() or not stat.S_ISREG(file.stat().st_mode):
        raise UserError(f"{file}: no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise UserError(f"{file}: not a file of torch.save (version 1.6 or later): {error}") from error
    # torch.save compresses nothing; what is compressed could be of any size.
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise UserError(f"{file}: not a file of torch.save: a part of it is compressed")
    if (size := sum(part.file_size for part in parts)) > MAX_WEIGHTS:
        raise UserError(
            f"{file}: holds {size:,} bytes, at most {MAX_WEIGHTS:,} are read: an adapter is a few megabytes\n"
            "  is it a checkpoint of the whole model? Take the adapter's own tensors out of it first"
        )
    try:
        check_pickle(file)
        with loading_errors(str(file)):
            loaded = _load(file)
    except _MoreThanTensors as error:
        raise UserError(
            f"{file}: holds more than tensors, and is not loaded, for it could run a program\n"
            "  save the adapter's tensors alone: torch.save({name: tensor}, file)"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{file}: holds {short(loaded)}, not tensors by name")
    if wrong := [name for name, value in loaded.items() if not isinstance(name, str) or not isinstance(value, Tensor)]:
        raise UserError(f"{file}: {short(wrong[0])} in it is no tensor with a name")
    if sum(tensor.numel() * tensor.element_size() for tensor in loaded.values()) > MAX_WEIGHTS:  # views that repeat
        raise UserError(f"{file}: its tensors claim more than {MAX_WEIGHTS:,} bytes")
    return dict(loaded)


class _MoreThanTensors(UserError):
    """Raised inside `loading_errors`, and caught right outside."""


def _load(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to load it all the same
        raise _MoreThanTensors("") from error


def write_torch_file(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a file that `torch.load` reads as a dict, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, buffer)
    write_whole(file, lambda part: part.write_bytes(buffer.getvalue()))
