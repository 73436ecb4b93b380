"""A check of files for `torch.load` before they are loaded."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

from mmadapter.errors import UserError
from mmadapter.storage.untrusted import loading_errors

MAX_PICKLE = 1 << 22
"""4 MiB of a pickle, which lists a file's tensors; that of ViT-bigG with its optimiser's state has 1 MB."""
MAX_CLASS_NAME = 200
"""Characters in the name of a class that a pickle loads."""
MAX_SHARED = 16
"""Objects other than texts and names that a pickle may use again: each can double the size of the result."""
_INDIVISIBLE = ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "GLOBAL", "STACK_GLOBAL")
"""Opcodes of texts and names."""


def check_pickle(file: Path) -> None:
    """Refuse a file that would keep `torch.load` busy for years, even with `weights_only`.

    A pair that holds one pair twice, and so on for forty levels, has 400 bytes; hashing it as a key takes 2^40 steps.

    Raises:
        UserError: the pickle uses more than MAX_SHARED objects again, names a class by more than MAX_CLASS_NAME
            characters, or is not a pickle of at most MAX_PICKLE bytes.
    """
    from torch._C import PyTorchFileReader

    with loading_errors(str(file)):
        if archive := zipfile.is_zipfile(file):
            data = PyTorchFileReader(str(file)).get_record("data.pkl")  # as torch.load finds it
        else:  # from before PyTorch 1.6: five pickles in a row, then the numbers
            with file.open("rb") as beginning:
                data = beginning.read(MAX_PICKLE)
        pickles = io.BytesIO(data[:MAX_PICKLE])
        shared = sum(_used_again(pickles) for _ in range(1 if archive else 5))
    if shared > MAX_SHARED:
        raise UserError(f"{file}: uses {shared} things more than once, at most {MAX_SHARED} are read")


def _used_again(pickle: io.BytesIO) -> int:
    """Count how often the next pickle uses again an object that is neither a text nor a name."""
    made: dict[int, str] = {}
    argument: Any  # its type depends on the opcode
    before, count = "", 0
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "MEMOIZE":
            made[len(made)] = before
        elif "PUT" in opcode.name:
            made[argument] = before
        elif opcode.name == "GLOBAL" and len(argument) > MAX_CLASS_NAME:
            # PyTorch's search in its message about the class takes quadratic time.
            raise ValueError(f"the name of a class has {len(argument):,} characters")
        else:
            again = opcode.name == "DUP" or ("GET" in opcode.name and made.get(argument) not in _INDIVISIBLE)
            before, count = opcode.name, count + again
    return count
