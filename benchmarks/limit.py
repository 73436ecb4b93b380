"""The limit: what the frozen backbone alone costs on the real tokens, with nothing padded and nothing adapted.

Sequences lie one after the other in one row: the linear layers see all of them as one matrix, the attention each of
them by itself. A batch that is a single sequence is the other way to waste nothing; the benchmarks time both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, LlamaForCausalLM

from benchmarks.workload import common_length, twin
from mmadapter.inference.tokenising import Encoded

PACKED = "benchmarks-packed"
"""Name of the attention below. It has no mask function, so transformers builds no mask."""


def _packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 H N D"],
    key: Float[Tensor, "1 G N D"],
    value: Float[Tensor, "1 G N D"],
    attention_mask: None,
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
    **kwargs,  # transformers' own
) -> tuple[Float[Tensor, "1 N H D"], None]:
    """Causal attention within each of the sequences of `lengths`: one kernel on a GPU, a loop on a CPU."""
    grouped = query.shape[1] != key.shape[1]
    if query.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn  # PyTorch 2.10

        starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=query.device)
        rows = [part[0].transpose(0, 1) for part in (query, key, value)]
        longest = max(lengths)
        output = varlen_attn(
            *rows, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=grouped
        )
        return output[None], None
    parts = zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
    outputs = [scaled_dot_product_attention(*part, is_causal=True, scale=scaling, enable_gqa=grouped) for part in parts]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(PACKED, _packed_attention)


def packed_hidden(model: LlamaForCausalLM, rows: Sequence[Sequence[int]]) -> Float[Tensor, "N C"]:
    """Last hidden states of all tokens of all rows, by a `twin` with the packed attention."""
    lengths = [len(row) for row in rows]
    tokens = torch.tensor([[token for row in rows for token in row]], device=model.device)
    positions = torch.tensor([[at for length in lengths for at in range(length)]], device=model.device)
    return model.model(tokens, position_ids=positions, use_cache=False, lengths=lengths).last_hidden_state[0]


class LimitTraining:
    """Forward through all layers, head at the answers, activation gradient down to the first adapted layer.

    The lowest activation that an adapter can change is the attention output of the first adapted layer: the
    gradient ends there, before its output projection.
    """

    def __init__(self, model: LlamaForCausalLM, adapter_layers: int) -> None:
        self.model = twin(model, PACKED)
        self.entry: Tensor | None = None
        """Attention output of the first adapted layer, (1, N, C), with its gradient after a backward."""
        self.model.model.layers[-adapter_layers].self_attn.o_proj.register_forward_pre_hook(self._enter)

    def _enter(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        self.entry = inputs[0].requires_grad_()
        return (self.entry,)

    def loss(self, batch: Sequence[Encoded]) -> Float[Tensor, ""]:
        """Summed cross-entropy of the answer tokens of a batch, in nats."""
        rows = [question.read_tokens for question in batch]
        ends = accumulate(map(len, rows))
        read = [end - len(q.target) + at for end, q in zip(ends, batch, strict=True) for at in range(len(q.target))]
        target = torch.tensor([token for question in batch for token in question.target], device=self.model.device)
        logits = self.model.lm_head(packed_hidden(self.model, rows)[torch.tensor(read, device=self.model.device)])
        return cross_entropy(logits.float(), target, reduction="sum")

    def epoch(self, batches: Sequence[Sequence[Encoded]]) -> float:
        """Forward and backward over all batches; their summed loss."""
        total = 0.0
        for batch in batches:
            loss = self.loss(batch)
            loss.backward()
            total += loss.item()
        return total


def limit_scoring(model: LlamaForCausalLM, batches: Sequence[Sequence[Encoded]]) -> Callable[[], list[list[float]]]:
    """A forward over each prompt, what its options share and what they do not, with the head where they are read.

    The scores are right where options part in their last token, as letters do. Longer branches see those before
    them: the work of the exact scores, which is all that is asked of a limit, not their values.
    """
    model = twin(model, PACKED)

    @torch.no_grad()
    def run() -> list[list[float]]:
        scores = []
        for batch in batches:
            rows, reads = [], []  # a read: option of the batch, column in its packed row, token
            for question in batch:
                start, option = sum(map(len, rows)), sum(len(previous.options) for previous in batch[: len(rows)])
                row, own = scored_row(question)
                rows.append(row)
                reads += [(option + index, start + column, token) for index, column, token in own]
            options, columns, tokens = torch.tensor(reads, device=model.device).T
            cells, cell = columns.unique(return_inverse=True)
            logits = model.lm_head(packed_hidden(model, rows)[cells]).float()
            found = logits.log_softmax(dim=-1)[cell, tokens].double()
            summed = found.new_zeros(sum(len(question.options) for question in batch)).index_add_(0, options, found)
            scores += [part.tolist() for part in summed.split([len(question.options) for question in batch])]
        return scores

    return run


def scored_row(question: Encoded) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Tokens that scoring has to read, and (option, column before it, token) of each token that is scored."""
    shared = common_length(question.options)
    row, reads = question.prompt + question.options[0][:shared], []
    start = len(row)
    for option, tokens in enumerate(question.options):
        branch = tokens[shared:]
        columns = [start - 1, *range(len(row), len(row) + len(branch) - 1)]
        reads += [(option, column, token) for column, token in zip(columns, branch, strict=True)]
        row = row + branch[:-1]
    return row, reads


def packs(asked: Sequence[Encoded], max_tokens: int) -> Iterator[list[Encoded]]:
    """Questions in order, as many to a batch as `max_tokens` hold."""
    batch: list[Encoded] = []
    size = 0
    for question in asked:
        length = len(scored_row(question)[0])
        if batch and size + length > max_tokens:
            yield batch
            batch, size = [], 0
        batch.append(question)
        size += length
    if batch:
        yield batch
