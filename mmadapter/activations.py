"""What enters the first adapted layer, of every training problem: computed once and kept on disk.

Below that layer nothing trains, so these hidden states are the same in every epoch and for every seed and variant.
With L of N layers adapted, an epoch then costs L forwards and L backwards instead of N and L.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmadapter.encoding import Encoded
from mmadapter.errors import UserError
from mmadapter.files import check_room, sole_writer, write_whole
from mmadapter.model import MultimodalAdapter
from mmadapter.paths import cache_dir
from mmadapter.progress import progress_bar
from mmadapter.scoring import length_batches, pad_tokens


class Activations:
    """Hidden states of training problems, mapped from a file: one row a token, in the model's own precision."""

    def __init__(self, values: Float[Tensor, "N C"], questions: Sequence[Encoded]) -> None:
        self._values, self._rows, end = values, {}, 0
        for question in questions:
            start, end = end, end + len(question.read_tokens)
            self._rows[question.pid] = slice(start, end)

    def of(self, batch: Sequence[Encoded]) -> Float[Tensor, "B T C"]:
        """Of a batch, padded with zeros on the right."""
        return pad_sequence([self.rows(question) for question in batch], batch_first=True)

    def rows(self, question: Encoded) -> Float[Tensor, "T C"]:
        """Of one problem."""
        return self._values[self._rows[question.pid]]


def stored_activations(model: MultimodalAdapter, questions: Sequence[Encoded], *, quiet: bool = False) -> Activations:
    """Read what `activations/` of the cache holds, or compute and write it first.

    The file is named by the frozen weights below the first adapted layer, their precision and the problems' tokens.

    Raises:
        UserError: every layer is adapted, or the disk has too little room.
    """
    first, llm = model.first_adapted, model.llm.model
    if first == 0:
        raise UserError("--store-activations: all layers are adapted, so nothing is the same in every epoch")
    size = (sum(len(question.read_tokens) for question in questions), llm.config.hidden_size)
    path = cache_dir() / "activations" / f"{_key(model, questions)}.bin"
    # another run may be at it: nobody computes them twice
    with sole_writer(path.with_suffix(""), wait=lambda told: None):
        if not path.exists():
            check_room(path.parent, size[0] * size[1] * llm.dtype.itemsize, "the activations")
            write_whole(
                path, lambda part: _compute(model, questions, _mapped(part, size, llm.dtype, shared=True), quiet)
            )
    return Activations(_mapped(path, size, llm.dtype, shared=False), questions)


def _compute(model: MultimodalAdapter, questions: Sequence[Encoded], values: Tensor, quiet: bool) -> None:
    out = Activations(values, questions)
    with progress_bar("activations", len(questions), quiet=quiet) as update:
        done = 0
        for indices in length_batches(questions):
            batch = [questions[index] for index in indices]
            tokens = pad_tokens([question.read_tokens for question in batch]).to(model.llm.model.device)
            for question, hidden in zip(batch, model.below_adapter(tokens), strict=True):
                rows = out.rows(question)
                rows.copy_(hidden[: len(rows)])
            update(done := done + len(batch), "")


def _mapped(path: Path, size: tuple[int, int], dtype: torch.dtype, *, shared: bool) -> Tensor:
    return torch.from_file(str(path), shared=shared, size=size[0] * size[1], dtype=dtype).view(size)


def _key(model: MultimodalAdapter, questions: Sequence[Encoded]) -> str:
    """Hash of all that decides the values."""
    decoder = model.llm.model.get_decoder()
    digest = hashlib.sha256(f"{model.llm.fingerprint} {model.first_adapted} {model.llm.model.dtype}".encode())
    for module in (decoder.get_input_embeddings(), *decoder.layers[: model.first_adapted]):
        for weight in module.parameters():
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    for question in questions:
        digest.update(f"{question.pid} {question.read_tokens}\n".encode())
    return digest.hexdigest()[:32]
