"""Files of `torch.save`, read without running anything in them or taking more memory than they have bytes."""

from __future__ import annotations

import io
import pickle
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
    """Return the tensors in a file or in a checkpoint's `{"model": {...}}`, by name, of any dtype and shape.

    Raises:
        UserError: no such file, not one of `torch.save`, larger than MAX_WEIGHTS, or with anything but tensors in it.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise UserError(f"{file}: not a file of torch.save (version 1.6 or later): {error}") from error
    # torch.save compresses nothing; a compressed part could unpack to any size
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise UserError(f"{file}: not a file of torch.save: a part of it is compressed")
    if (size := sum(part.file_size for part in parts)) > MAX_WEIGHTS:
        raise UserError(
            f"{file}: holds {size:,} bytes, at most {MAX_WEIGHTS:,} are read: an adapter is a few megabytes\n"
            "  is it a checkpoint of the whole model? Take the adapter's own tensors out of it first"
        )
    check_pickle(file)
    with loading_errors(str(file)):
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its text advises loading the file anyway
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
    if sum(tensor.numel() * tensor.element_size() for tensor in loaded.values()) > MAX_WEIGHTS:  # repeating views
        raise UserError(f"{file}: its tensors claim more than {MAX_WEIGHTS:,} bytes")
    return dict(loaded)


def write_torch_file(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors by name for `torch.load`, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, buffer)
    write_whole(file, lambda part: part.write_bytes(buffer.getvalue()))
