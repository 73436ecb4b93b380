"""The scorers: the limit, mmadapter, and other ways to score or to generate answers.

A builder takes a backbone, whose weights all share, and questions, and returns a scorer that answers them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM

from benchmarks.limit import limit_scoring, packs
from benchmarks.measure import Contender
from benchmarks.peers import peft_twin, random_batches
from benchmarks.workload import Settings, adapted, common_length, fused_twin, images, twin
from mmadapter.inference.likelihood import adaption_of, option_log_likelihoods
from mmadapter.inference.rows import length_batches
from mmadapter.inference.tokenising import Encoded

Scorer = Callable[[], object]
"""Answers all questions: returns the log-likelihoods of each question's options, or the generated tokens by pid."""

NEW_TOKENS = 8
"""Tokens generated for one answer: " The answer is (C)." and one more."""
LETTERS = 5

PACK_TOKENS = {"cpu": 1024}
"""Tokens in a batch of the limit: enough for its matrices, and they fit a CPU's cache. 16,384 elsewhere."""


def score_limit(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], *, packed: bool) -> Scorer:
    """Build the limit's scorer, batches packed or one question at a time."""
    packed_batches = packs(asked, PACK_TOKENS.get(model.device.type, 16_384))
    return limit_scoring(model, list(packed_batches) if packed else [[question] for question in asked])


def score_ours(
    settings: Settings,
    model: LlamaForCausalLM,
    asked: Sequence[Encoded],
    *,
    text_only: bool = True,
    compiled: bool = False,
) -> Scorer:
    """Build our scorer."""
    ours = adapted(settings, fused_twin(model) if compiled else model, text_only=text_only)
    seen = images(settings, asked)

    @torch.no_grad()
    def run() -> list[list[float]]:
        scores: dict[str, list[float]] = {}
        for indices in length_batches(asked):
            batch = [asked[index] for index in indices]
            found = option_log_likelihoods(ours, adaption_of(ours, seen, batch), batch)
            scores |= {question.pid: score.tolist() for question, score in zip(batch, found, strict=True)}
        return [scores[question.pid] for question in asked]

    return run


def score_peft(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """Build PEFT's scorer of letters."""
    return left_padded_scorer(peft_twin(settings, model), list(random_batches(asked, settings)), asked)


def left_padded_scorer(model: torch.nn.Module, batches: list[list[Encoded]], asked: Sequence[Encoded]) -> Scorer:
    """Score options that differ in their last token alone; positions count from each row's first real token."""

    @torch.no_grad()
    def run() -> list[list[float]]:
        scores: dict[str, list[float]] = {}
        for batch in batches:
            rows = [question.prompt + question.options[0][: common_length(question.options)] for question in batch]
            ids, mask = (part.to(model.device) for part in _left_padded(rows))
            positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
            logits = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            ).logits
            found = logits[:, -1].float().log_softmax(dim=-1)
            for row, question in zip(found, batch, strict=True):
                scores[question.pid] = row[[option[-1] for option in question.options]].tolist()
        return [scores[question.pid] for question in asked]

    return run


def score_generate(
    settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], *, peft: bool = False
) -> Scorer:
    """Build a greedy generator, frozen or under PEFT."""
    generator = peft_twin(settings, model) if peft else twin(model)
    batches = list(random_batches(asked, settings))

    @torch.no_grad()
    def run() -> dict[str, list[int]]:
        answers = {}
        for batch in batches:
            ids, mask = (part.to(model.device) for part in _left_padded([question.prompt for question in batch]))
            found = generator.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )[:, ids.shape[1] :]
            answers |= {question.pid: row for question, row in zip(batch, found.tolist(), strict=True)}
        return answers

    return run


def score_options(
    settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], *, letters: bool = False
) -> Scorer:
    """Build a scorer of options, or of the letters A to E, as evaluation harnesses do it.

    Requests go longest first, padded on the right, with the log-softmax of every token.
    """
    if letters:
        lead = asked[0].options[0][:-1]
        requests = [(number, [*lead, 3 + letter]) for number in range(len(asked)) for letter in range(LETTERS)]
    else:
        requests = [(number, option) for number, question in enumerate(asked) for option in question.options]
    frozen = twin(model)
    lengths = [len(asked[number].prompt) + len(option) for number, option in requests]
    order = sorted(range(len(requests)), key=lambda index: -lengths[index])

    @torch.no_grad()
    def run() -> list[list[float]]:
        scores: list[list[float]] = [[] for _ in asked]
        found = {}
        for start in range(0, len(order), settings.batch):
            batch = [requests[index] for index in order[start : start + settings.batch]]
            rows = [torch.tensor((asked[number].prompt + option)[:-1]) for number, option in batch]
            logits = frozen(input_ids=pad_sequence(rows, batch_first=True).to(model.device), use_cache=False).logits
            likelihoods = logits.float().log_softmax(dim=-1)
            for at, (number, option) in enumerate(batch):
                begin = len(asked[number].prompt) - 1
                read = torch.arange(begin, begin + len(option), device=model.device)
                tokens = torch.tensor(option, device=model.device)
                found[order[start + at]] = likelihoods[at, read, tokens].sum().item()
        for index, (number, _) in enumerate(requests):
            scores[number].append(found[index])
        return scores

    return run


def _left_padded(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


SCORING = {
    "limit, packed": Contender("frozen backbone alone, packed without padding", partial(score_limit, packed=True)),
    "limit, one by one": Contender("frozen backbone alone, question by question", partial(score_limit, packed=False)),
    "mmadapter, text-only": Contender(
        "likelihood of all options in one forward a question, without images", score_ours
    ),
    "mmadapter, multimodal": Contender(
        "the same, images for 48 % of the questions", partial(score_ours, text_only=False)
    ),
    "mmadapter, compiled": Contender(
        "without images, the frozen layers fused by torch.compile (`--compile`)", partial(score_ours, compiled=True)
    ),
    "PEFT, one forward": Contender("PEFT: one left-padded forward, all letters read at its last position", score_peft),
    "generation": Contender("frozen model: greedy generation of 8 tokens after left-padded prompts", score_generate),
    "generation, PEFT": Contender(
        "PEFT: greedy generation of 8 tokens after left-padded prompts", partial(score_generate, peft=True)
    ),
    "per-option likelihood": Contender("frozen model: one forward for each option of a question", score_options),
    "five letters' likelihood": Contender(
        "frozen model: one forward for each of the letters A to E", partial(score_options, letters=True)
    ),
}
LETTERS_ONLY = ("PEFT, one forward", "five letters' likelihood")
"""Scorers for options that differ in their last token alone."""
