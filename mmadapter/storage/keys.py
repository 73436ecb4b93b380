"""Keys of what is stored to be used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def content_key(settings: Any, tensors: Iterable[Tensor] = ()) -> str:
    """Hash everything that decides a stored result, so that a result is found again only if it would come out the same.

    Args:
        settings: anything that JSON has, in any order of its names.
        tensors: of any type and device, hashed by shape, type and bytes.

    Returns:
        SHA-256, 64 hexadecimal digits; without tensors that of the JSON text.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    import torch  # the tensor's owner has imported it

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
