"""Check files for `torch.load` before they are loaded."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapter.errors import UserError

if TYPE_CHECKING:
    pass
from mmadapter.storage.untrusted import loading_errors

MAX_PICKLE = 1 << 22
"""4 MiB for the list of a file's tensors; that of ViT-bigG with its optimiser's state takes 1 MB."""
MAX_CLASS_NAME = 200
"""Most characters in the name of a class."""
MAX_SHARED = 16
"""Most objects, other than texts and names, that a pickle may reuse: each can double what it unfolds to."""


def check_pickle(file: Path) -> None:
    """Refuse a file that would keep `torch.load` busy for years, even when it may load only weights.

    A pair of one pair twice, and so on for forty levels, has 400 bytes, and is hashed in 2^40 steps where it is a key.

    Raises:
        UserError: it uses more than MAX_SHARED things again, asks for a class by more than MAX_CLASS_NAME characters,
            or is no pickle of at most MAX_PICKLE bytes.
    """
    from torch._C import PyTorchFileReader

    with loading_errors(str(file)):
        if archive := zipfile.is_zipfile(file):
            data = PyTorchFileReader(str(file)).get_record("data.pkl")  # as torch.load finds it
        else:  # of before PyTorch 1.6: five pickles one after the other, then the numbers
            with file.open("rb") as beginning:
                data = beginning.read(MAX_PICKLE)
        pickles = io.BytesIO(data[:MAX_PICKLE])
        shared = sum(_used_again(pickles) for _ in range(1 if archive else 5))
    if shared > MAX_SHARED:
        raise UserError(f"{file}: uses {shared} things more than once, at most {MAX_SHARED} are read")


def _used_again(pickle: io.BytesIO) -> int:
    """Count how often the next pickle reuses an object other than a text or a name."""
    made: dict[int, str] = {}
    argument: Any  # of the type that its opcode says
    before, count = "", 0
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "MEMOIZE":
            made[len(made)] = before
        elif "PUT" in opcode.name:
            made[argument] = before
        elif opcode.name == "GLOBAL" and len(argument) > MAX_CLASS_NAME:  # PyTorch searches its message, squared
            raise ValueError(f"the name of a class has {len(argument):,} characters")
        else:
            again = opcode.name == "DUP" or ("GET" in opcode.name and made.get(argument) not in _INDIVISIBLE)
            before, count = opcode.name, count + again
    return count


_INDIVISIBLE = ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "GLOBAL", "STACK_GLOBAL")
