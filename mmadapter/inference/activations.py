"""Store the input of the first adapted layer for every question on disk.

Below that layer nothing trains, so these hidden states are the same in every epoch, for every seed and variant. With L
of N layers adapted, an epoch then costs L forwards and L backwards instead of N and L, and answers L forwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmadapter.errors import UserError
from mmadapter.inference.rows import SCORING_TOKENS, Row, row_inputs, similar_lengths
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.storage.files import check_room, write_whole
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir
from mmadapter.storage.progress import progress_bar


class Activations:
    """Hidden states of questions, mapped from a file: one row a token, in the model's precision."""

    def __init__(self, values: Float[Tensor, "N C"], lengths: Mapping[str, int]) -> None:
        """
        Args:
            lengths: number of rows of each question by its id, in the order of `values`.
        """
        ends = accumulate(lengths.values())
        self._values = values
        self._rows = {pid: slice(end - length, end) for (pid, length), end in zip(lengths.items(), ends, strict=True)}

    def of(self, batch: Sequence[Encoded]) -> Float[Tensor, "B T C"]:
        """The states of a batch, padded with zeros on the right."""
        return pad_sequence([self.of_one(question.pid) for question in batch], batch_first=True)

    def of_one(self, pid: str) -> Float[Tensor, "T C"]:
        """The states of one question."""
        return self._values[self._rows[pid]]


def stored_activations(model: MultimodalAdapter, rows: Mapping[str, Row], *, quiet: bool = False) -> Activations:
    """Read the activations from the cache, or compute and write them first.

    The file is named by the frozen weights below the first adapted layer, their precision and the questions' tokens.

    Args:
        rows: layout of each question by its id (`rows.trained_row`, `rows.scored_row`).

    Raises:
        UserError: every layer is adapted, or the disk has too little room.
    """
    first, llm = model.first_adapted, model.llm.model
    if first == 0:
        raise UserError("--store-activations: all layers are adapted, so nothing is the same in every epoch")
    lengths = {pid: len(row.tokens) for pid, row in rows.items()}
    size = (sum(lengths.values()), llm.config.hidden_size)
    path = cache_dir() / "activations" / f"{_key(model, rows)}.bin"
    # another run may be at it: nobody computes them twice
    with sole_writer(path.with_suffix(""), wait=lambda told: None):
        if not path.exists():
            check_room(path.parent, size[0] * size[1] * llm.dtype.itemsize, "the activations")

            def write(part: Path) -> None:
                _compute(model, rows, Activations(_mapped(part, size, llm.dtype, shared=True), lengths), quiet)

            write_whole(path, write)
    return Activations(_mapped(path, size, llm.dtype, shared=False), lengths)


def _compute(model: MultimodalAdapter, rows: Mapping[str, Row], out: Activations, quiet: bool) -> None:
    pids, device = list(rows), model.llm.model.device
    with progress_bar("activations", len(rows), quiet=quiet) as update:
        done = 0
        for indices in similar_lengths([len(rows[pid].tokens) for pid in pids], SCORING_TOKENS):
            batch = [pids[index] for index in indices]
            tokens, inputs = row_inputs([rows[pid] for pid in batch], device)
            for pid, hidden in zip(batch, model.below_adapter(tokens, **inputs), strict=True):
                kept = out.of_one(pid)
                kept.copy_(hidden[: len(kept)])
            update(done := done + len(batch), "")


def _mapped(path: Path, size: tuple[int, int], dtype: torch.dtype, *, shared: bool) -> Tensor:
    return torch.from_file(str(path), shared=shared, size=size[0] * size[1], dtype=dtype).view(size)


def _key(model: MultimodalAdapter, rows: Mapping[str, Row]) -> str:
    """Hash everything that decides the values."""
    decoder = model.llm.model.get_decoder()
    digest = hashlib.sha256(f"{model.llm.fingerprint} {model.first_adapted} {model.llm.model.dtype}".encode())
    for module in (decoder.get_input_embeddings(), *decoder.layers[: model.first_adapted]):
        for weight in module.parameters():
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    for pid, row in rows.items():
        digest.update(f"{pid} {row.tokens} {row.branch}\n".encode())
    return digest.hexdigest()[:32]
