"""The limit: the cost of the frozen backbone alone on the real tokens, without padding and without an adapter.

All sequences lie in one row: the linear layers read one matrix, and the attention reads each sequence by itself. A
batch of a single sequence also wastes nothing; the benchmarks time both.
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
"""Name of the attention below. transformers builds no mask for it, since it has no mask function."""


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
    """Causal attention within each sequence of `lengths`: one kernel on a GPU, a loop on a CPU."""
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
    """Return the last hidden states of all rows' tokens, from a `twin` with the packed attention."""
    lengths = [len(row) for row in rows]
    tokens = torch.tensor([[token for row in rows for token in row]], device=model.device)
    positions = torch.tensor([[at for length in lengths for at in range(length)]], device=model.device)
    return model.model(tokens, position_ids=positions, use_cache=False, lengths=lengths).last_hidden_state[0]


class LimitTraining:
    """Forward through all layers, head at the answers, activation gradient down to the first adapted layer.

    The gradient ends at the attention output of the first adapted layer, before its output projection: the lowest
    activation that an adapter can change.
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
        """Return the summed cross-entropy of a batch's answer tokens, in nats."""
        rows = [question.read_tokens for question in batch]
        ends = accumulate(map(len, rows))
        read = [end - len(q.target) + at for end, q in zip(ends, batch, strict=True) for at in range(len(q.target))]
        target = torch.tensor([token for question in batch for token in question.target], device=self.model.device)
        logits = self.model.lm_head(packed_hidden(self.model, rows)[torch.tensor(read, device=self.model.device)])
        return cross_entropy(logits.float(), target, reduction="sum")

    def epoch(self, batches: Sequence[Sequence[Encoded]]) -> float:
        """Run forward and backward over all batches and return their summed loss."""
        total = 0.0
        for batch in batches:
            loss = self.loss(batch)
            loss.backward()
            total += loss.item()
        return total


def limit_scoring(model: LlamaForCausalLM, batches: Sequence[Sequence[Encoded]]) -> Callable[[], list[list[float]]]:
    """Return a scorer: one forward over prompt, shared tokens and options, with the head where tokens are scored.

    The scores are exact if options differ in their last token alone, as letters do. Longer options also see those
    before them, which has the cost of exact scores but not their values.
    """
    model = twin(model, PACKED)

    @torch.no_grad()
    def run() -> list[list[float]]:
        scores = []
        for batch in batches:
            rows, reads = [], []  # a read is an option of the batch, a packed column and a token
            for question in batch:
                start, option = sum(map(len, rows)), sum(len(previous.options) for previous in batch[: len(rows)])
                row, scored = scored_row(question)
                rows.append(row)
                reads += [(option + index, start + column, token) for index, column, token in scored]
            options, columns, tokens = torch.tensor(reads, device=model.device).T
            cells, cell = columns.unique(return_inverse=True)
            logits = model.lm_head(packed_hidden(model, rows)[cells]).float()
            found = logits.log_softmax(dim=-1)[cell, tokens].double()
            summed = found.new_zeros(sum(len(question.options) for question in batch)).index_add_(0, options, found)
            scores += [part.tolist() for part in summed.split([len(question.options) for question in batch])]
        return scores

    return run


def scored_row(question: Encoded) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Return the tokens that scoring has to read, and (option, column before, token) for each scored token."""
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
    """Yield batches of consecutive questions, each as large as `max_tokens` allows."""
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
