"""Hidden states that enter the first adapted layer: computed once for each question and kept on disk.

Nothing below that layer trains, so they are the same in every epoch and for every seed and variant. With L of N layers
adapted, an epoch costs L forwards and L backwards instead of N and L, and answering costs L forwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from mmadapter.storage.keys import content_key
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir
from mmadapter.storage.progress import progress_bar


@dataclass(frozen=True)
class Activations:
    """Stored hidden states, mapped from a file."""

    states: Mapping[str, Tensor]
    """Each question's (T, C), by pid, in the model's own precision."""

    def of(self, batch: Sequence[Encoded]) -> Float[Tensor, "B T C"]:
        """Return a batch, padded with zeros on the right."""
        return pad_sequence([self.states[question.pid] for question in batch], batch_first=True)


def stored_activations(model: MultimodalAdapter, rows: Mapping[str, Row], *, quiet: bool = False) -> Activations:
    """Return the hidden states from `activations/` in the cache; if they are not there, compute and store them first.

    Args:
        rows: each question's `trained_row` or `scored_row`, by pid.

    Raises:
        UserError: every layer is adapted, or the disk has too little room.
    """
    if model.first_adapted == 0:
        raise UserError("--store-activations: all layers are adapted, so no activation stays the same between epochs")
    path = cache_dir() / "activations" / f"{_key(model, rows)}.bin"
    with sole_writer(path.with_suffix(""), wait=lambda _: None):  # another run may be computing the same ones
        if not path.exists():
            llm = model.llm.model
            size = sum(len(row.tokens) for row in rows.values()) * llm.config.hidden_size * llm.dtype.itemsize
            check_room(path.parent, size, "the activations")
            write_whole(path, lambda part: _compute(model, rows, _mapped(part, model, rows, shared=True), quiet))
    return Activations(_mapped(path, model, rows, shared=False))


def _compute(model: MultimodalAdapter, rows: Mapping[str, Row], out: Mapping[str, Tensor], quiet: bool) -> None:
    pids, done = list(rows), 0
    with progress_bar("activations", len(rows), quiet=quiet) as update:
        for indices in similar_lengths([len(row.tokens) for row in rows.values()], SCORING_TOKENS):
            batch = [pids[index] for index in indices]
            tokens, inputs = row_inputs([rows[pid] for pid in batch], model.llm.model.device)
            for pid, hidden in zip(batch, model.below_adapter(tokens, **inputs), strict=True):
                out[pid].copy_(hidden[: len(out[pid])])
            update(done := done + len(batch), "")


def _mapped(path: Path, model: MultimodalAdapter, rows: Mapping[str, Row], *, shared: bool) -> dict[str, Tensor]:
    """Map a file into memory and return each question's part of it; with `shared` what is written there is kept."""
    llm, lengths = model.llm.model, [len(row.tokens) for row in rows.values()]
    shape = sum(lengths), llm.config.hidden_size
    states = torch.from_file(str(path), shared=shared, size=math.prod(shape), dtype=llm.dtype).view(shape)
    return dict(zip(rows, states.split(lengths), strict=True))


def _key(model: MultimodalAdapter, rows: Mapping[str, Row]) -> str:
    """Hash everything that decides the values."""
    decoder = model.llm.model.get_decoder()
    settings = [model.llm.fingerprint, model.first_adapted, str(model.llm.model.dtype)]
    settings += [[pid, row.tokens, row.branch] for pid, row in rows.items()]
    modules = (decoder.get_input_embeddings(), *decoder.layers[: model.first_adapted])
    return content_key(settings, (weight for module in modules for weight in module.parameters()))[:32]
