"""Who is compared: the limit, mmadapter, and the peers as their users run them.

A contender is built from a backbone and questions, and is then a function that does all of them once: trains on
them, or scores them. All share the backbone's weights. The first line of a builder's docstring is what the tables say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM

from benchmarks.limit import LimitTraining, limit_scoring, packs, twin
from benchmarks.workload import SIZES, Settings, adapted, common_length, images
from mmadapter.activations import Activations, stored_activations
from mmadapter.config import Recipe
from mmadapter.encoding import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.scoring import adaption_of, answer_loss, length_batches, option_log_likelihoods
from mmadapter.training.batches import epoch_batches, forward_parts
from mmadapter.training.loop import BETAS


class Training(NamedTuple):
    """What trains."""

    epoch: Callable[[], float]
    """Goes through all questions; returns the summed loss of the answer tokens, in nats, each read before its step."""
    trained: list[Tensor]
    """What a step changes."""


Scorer = Callable[[], object]
"""All questions once; the log-likelihood of each option of each question, or the generated tokens."""

LEARNING_RATE = 1e-3
NEW_TOKENS = 8
"""Generated for one answer: " The answer is (C)." and a token to spare."""
LETTERS = 5


def random_batches(asked: Sequence[Encoded], settings: Settings) -> Iterator[list[Encoded]]:
    """As an ordinary data loader gives them."""
    order = np.random.default_rng(settings.seed).permutation(len(asked))
    for start in range(0, len(order), settings.batch):
        yield [asked[index] for index in order[start : start + settings.batch]]


# Training


def train_limit(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """frozen backbone alone, a batch packed without padding"""
    batches = list(random_batches(asked, settings))
    limit = LimitTraining(model, settings.adapter_layers)
    return Training(lambda: limit.epoch(batches), [])


def train_limit_one(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """frozen backbone alone, sequence by sequence"""
    limit = LimitTraining(model, settings.adapter_layers)
    return Training(lambda: limit.epoch([[question] for question in asked]), [])


def train_ours(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """adapter without images, as `mmadapter-train` steps"""
    return _train_ours(settings, adapted(settings, model, text_only=True), asked, rate)


def train_ours_images(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """adapter and projection, images for 48 % of the questions"""
    return _train_ours(settings, adapted(settings, model, text_only=False), asked, rate)


def train_ours_stored(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """adapter without images, what enters its first layer read from disk (`--store-activations`)"""
    ours = adapted(settings, model, text_only=True)
    with TemporaryDirectory() as folder, patch.dict(os.environ, MMADAPTER_CACHE=folder):
        stored = stored_activations(ours, asked, quiet=True)  # mapped: it stays when the folder is gone
    return _train_ours(settings, ours, asked, rate, stored)


def _train_ours(
    settings: Settings,
    ours: MultimodalAdapter,
    asked: Sequence[Encoded],
    rate: float,
    stored: Activations | None = None,
) -> Training:
    """The steps of mmadapter.training.loop.train, without its log, validation and checkpoints."""
    seen, recipe = images(settings, asked), Recipe()
    weights = list(ours.adapter.parameters())
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=recipe.weight_decay)
    lengths = [len(question.read_tokens) for question in asked]

    def epoch() -> float:
        total = 0.0
        for batch in epoch_batches(lengths, settings.batch, settings.seed, 0):
            tokens = sum(len(asked[index].target) for index in batch)
            loss = torch.zeros((), device=ours.llm.model.device)
            for part in forward_parts(batch, lengths, recipe.forward_tokens, (0, 1)):
                some = [asked[index] for index in part]
                below = stored.of(some) if stored is not None else None
                own = answer_loss(ours, adaption_of(ours, seen, some), some, below) / tokens
                own.backward()
                loss += own.detach()
            total += loss.item() * tokens
            torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm).item()
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, weights)


def train_peft(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """PEFT AdaptionPrompt: random batches padded to the longest, logits of every token"""
    peft_model = peft_twin(settings, model)
    trained = [parameter for parameter in peft_model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    batches = list(random_batches(asked, settings))

    def epoch() -> float:
        total = 0.0
        for batch in batches:
            ids, labels, mask = (part.to(model.device) for part in _padded(batch))
            loss = peft_model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            total += loss.item() * sum(len(question.target) for question in batch)
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, trained)


def train_litgpt(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """litgpt's adapter: random batches padded to the longest, head and loss in chunks"""
    return _train_litgpt(settings, model, list(random_batches(asked, settings)), rate, parts=1)


def train_litgpt_one(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], rate: float) -> Training:
    """litgpt's adapter with its default micro-batch of one sequence, accumulated"""
    return _train_litgpt(settings, model, list(random_batches(asked, settings)), rate, parts=settings.batch)


def _train_litgpt(
    settings: Settings, model: LlamaForCausalLM, batches: list[list[Encoded]], rate: float, *, parts: int
) -> Training:
    """The loop of litgpt/finetune/adapter.py on one device.

    Its prompts' keys and values are emptied before each part: litgpt keeps those of its first, gradient-free
    validation for ever, and its prompts never train (its issue 1287). So it does the work it means to do.
    """
    from litgpt.utils import chunked_cross_entropy

    gpt = litgpt_twin(settings, model)
    trained = [parameter for parameter in gpt.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)

    def epoch() -> float:
        total = 0.0
        for batch in batches:
            size = -(-len(batch) // parts)
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                for block in gpt.transformer.h:
                    block.attn.adapter_kv_cache = None
                ids, labels, _ = (tensor.to(model.device) for tensor in _padded(part))
                logits = gpt(ids, lm_head_chunk_size=128)
                logits[-1] = logits[-1][..., :-1, :]
                loss = chunked_cross_entropy(logits, labels[..., 1:])
                (loss * len(part) / len(batch)).backward()
                total += loss.item() * sum(len(question.target) for question in part)
            optimizer.step()
            optimizer.zero_grad()
        return total

    return Training(epoch, trained)


TRAINING = {
    "limit, packed": train_limit,
    "limit, one by one": train_limit_one,
    "mmadapter, text-only": train_ours,
    "mmadapter, multimodal": train_ours_images,
    "mmadapter, stored": train_ours_stored,
    "PEFT": train_peft,
    "litgpt": train_litgpt,
    "litgpt, one by one": train_litgpt_one,
}


def possible(settings: Settings) -> dict[str, Callable]:
    """The trainers that can run; the others are named on the screen with the reason."""
    missing = {}
    if find_spec("litgpt") is None:
        missing["litgpt"] = "the package litgpt is not installed (benchmarks/README.md)"
    if settings.adapter_layers == SIZES[settings.size].layers:
        missing["mmadapter, stored"] = "all layers are adapted, so nothing stays the same"
    reasons = {name: next((why for key, why in missing.items() if name.startswith(key)), None) for name in TRAINING}
    for name, why in reasons.items():
        if why is not None:
            print(f"{name} is left out: {why}")
    return {name: build for name, build in TRAINING.items() if reasons[name] is None}


def _padded(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, labels (-100 but at the answers) and attention mask, padded on the right."""
    ids = [torch.tensor(question.prompt + question.target) for question in batch]
    labels = [torch.tensor([-100] * len(question.prompt) + question.target) for question in batch]
    return (
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=-100),
        pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
    )


def peft_twin(settings: Settings, model: LlamaForCausalLM) -> torch.nn.Module:
    """The backbone under a fresh AdaptionPrompt of PEFT."""
    from peft import AdaptionPromptConfig, get_peft_model

    config = AdaptionPromptConfig(
        adapter_len=settings.adapter_len, adapter_layers=settings.adapter_layers, task_type="CAUSAL_LM"
    )
    torch.manual_seed(settings.seed)
    return get_peft_model(twin(model), config)


def litgpt_twin(settings: Settings, model: LlamaForCausalLM) -> torch.nn.Module:
    """The backbone as litgpt has it (queries, keys and values in one matrix, so those are copied), with its adapter."""
    from litgpt.adapter import GPT, Config, mark_only_adapter_as_trainable
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama

    llama = model.config
    config = Config(
        name="benchmark",
        block_size=llama.max_position_embeddings,
        vocab_size=llama.vocab_size,
        padded_vocab_size=llama.vocab_size,
        n_layer=llama.num_hidden_layers,
        n_head=llama.num_attention_heads,
        n_embd=llama.hidden_size,
        intermediate_size=llama.intermediate_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=llama.rms_norm_eps,
        mlp_class_name="LLaMAMLP",
        adapter_prompt_length=settings.adapter_len,
        adapter_start_layer=llama.num_hidden_layers - settings.adapter_layers,
    )
    weights: dict[str, Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, model.state_dict())
    torch.manual_seed(settings.seed)
    with torch.device(model.device):
        gpt = GPT(config).to(model.dtype)
    gpt.load_state_dict(weights, strict=False, assign=True)
    mark_only_adapter_as_trainable(gpt)
    return gpt


# Scoring

PACK_TOKENS = {"cpu": 1024}
"""Of a batch of the limit: enough for its matrices, and what a CPU's cache holds. 16,384 elsewhere."""


def score_limit(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """frozen backbone alone, packed without padding"""
    return limit_scoring(model, list(packs(asked, PACK_TOKENS.get(model.device.type, 16_384))))


def score_limit_one(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """frozen backbone alone, question by question"""
    return limit_scoring(model, [[question] for question in asked])


def score_ours(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """likelihood of all options in one forward a question, without images"""
    return _score_ours(settings, model, asked, text_only=True)


def score_ours_images(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """the same, images for 48 % of the questions"""
    return _score_ours(settings, model, asked, text_only=False)


def _score_ours(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], *, text_only: bool) -> Scorer:
    ours, seen = adapted(settings, model, text_only=text_only), images(settings, asked)

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
    """PEFT: one left-padded forward, all letters read at its last position"""
    return left_padded_scorer(peft_twin(settings, model), list(random_batches(asked, settings)), asked)


def left_padded_scorer(model: torch.nn.Module, batches: list[list[Encoded]], asked: Sequence[Encoded]) -> Scorer:
    """Options must part in their last token. Rows end before it; positions count from each row's first real token."""

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


def score_generate(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """frozen model: greedy generation of 8 tokens after left-padded prompts"""
    return _generation(twin(model), list(random_batches(asked, settings)))


def score_generate_peft(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """PEFT: greedy generation of 8 tokens after left-padded prompts"""
    return _generation(peft_twin(settings, model), list(random_batches(asked, settings)))


def _generation(model: torch.nn.Module, batches: list[list[Encoded]]) -> Scorer:
    @torch.no_grad()
    def run() -> dict[str, list[int]]:
        answers = {}
        for batch in batches:
            ids, mask = (part.to(model.device) for part in _left_padded([question.prompt for question in batch]))
            found = model.generate(
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


def score_options(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """frozen model: one forward for each option of a question"""
    requests = [(number, option) for number, question in enumerate(asked) for option in question.options]
    return _per_option(settings, model, asked, requests)


def score_letters(settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded]) -> Scorer:
    """frozen model: one forward for each of the letters A to E"""
    lead = asked[0].options[0][:-1]
    requests = [(number, [*lead, 3 + letter]) for number in range(len(asked)) for letter in range(LETTERS)]
    return _per_option(settings, model, asked, requests)


def _per_option(
    settings: Settings, model: LlamaForCausalLM, asked: Sequence[Encoded], requests: list[tuple[int, list[int]]]
) -> Scorer:
    """As evaluation harnesses do: longest first, padded on the right, log-softmax of every token."""
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
    "limit, packed": score_limit,
    "limit, one by one": score_limit_one,
    "mmadapter, text-only": score_ours,
    "mmadapter, multimodal": score_ours_images,
    "PEFT, one forward": score_peft,
    "generation": score_generate,
    "generation, PEFT": score_generate_peft,
    "per-option likelihood": score_options,
    "five letters' likelihood": score_letters,
}
LETTERS_ONLY = ("PEFT, one forward", "five letters' likelihood")
"""Their answers part in the last token."""
