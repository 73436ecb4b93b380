"""Train the embedded tiny LLaMA and its tokenizer on fresh demo problems, a caption standing for each picture.

    python eval/backbones/train_tiny_llama.py --output assets/tiny-llama

943,232 weights. With one thread the stages take about 16, 8 and 10 minutes of an idle core. On the demo's test split
the most likely option is right in 100 % of the image problems, with the caption in the context and behind the options
alike, in 100 % of those with a text and in 99.6 % of those without context.

An answer is the option's own text (`--answer text`), because letters are learnt more slowly: after 1,000 steps an
earlier recipe with letters answered 29 % of val's image problems with the caption behind the options, this one 73 %.
Every step draws fresh problems; those of the demo's val and test splits (seeds 0 to 4) are left out.

A picture reaches the model later through an adapter, at every position and from the lower layers up, never as words
of a context. So the caption of an image problem stands at one of two places: in the context, as a hint does, or
behind the options, where the model has to carry it to the answer and look the options through from there. A tenth of
them have no caption, and their answer is a guess among the options.

Each stage goes on from the saved one before, with a new optimizer. The second draws 45 % of its problems from the
families that the first learns last. The third draws half of its problems from two look-ups that remain at chance and
from two families that adapters carried worst. A look-up asks what the hint says of one of two names, and the name
comes before the hint: to be answered, the tokens behind it must be marked as asked for, and the mark must be found,
and neither helps without the other. 5,600 steps of answers alone did not teach it. Telling an early layer which
tokens those are (`marks`, a linear read-out that is thrown away) does, in some hundred steps.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import torch
from fresh import fresh_problems
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from eval.demo import FAMILIES, DemoProblem, demo_problems
from eval.demo.words import NAMES, PLACES
from mmadapter.scienceqa.prompt import AnswerKind, letter_answer, prompt_text, text_answer


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of the optimizer."""

    steps: int
    peak: float
    """Learning rate after the warm-up; a cosine takes it to 0."""
    seed: int
    """Seed of the problems."""
    save_every: int
    """Steps; each save rounds the weights to float16, and training goes on from there."""
    hard: frozenset[str] = frozenset()
    """Families from which a share of the problems is drawn."""
    hard_share: float = 0.0
    late: float = 0.2
    """Share of the image problems whose caption stands behind the options."""
    marks: float = 0.0
    """Weight of the marks' loss (`asked_marks`); the answers' is 1."""


LEARNT_LAST = frozenset(
    {"trade", "colonies", "prices", "venn diagram", "story details", "thermal energy", "parts of speech"}
)
"""Families that the first stage learns last, or not at all."""
LOOK_UPS = frozenset({"trade", "colonies"})
"""Families that ask what the hint says of one of two names, in equal sentences."""
STEERED_LAST = frozenset({"venn diagram", "moon phase"})
"""Families whose pictures an adapter of the first two stages carries worst."""
STAGES = (
    Stage(steps=2500, peak=3e-3, seed=1000, save_every=200),
    Stage(steps=1600, peak=2e-3, seed=77, hard=LEARNT_LAST, hard_share=0.45, save_every=250),
    Stage(
        steps=2200,
        peak=3e-3,
        seed=99,
        hard=LOOK_UPS | STEERED_LAST,
        hard_share=0.5,
        late=0.35,
        marks=2.0,
        save_every=300,
    ),
)
WARM_UP = 100
"""Steps over which the learning rate rises."""
NAMED = frozenset({*NAMES, *PLACES})
BATCH = 48
POOL = 12
"""Batches that are sorted by length together, so that little is padded."""
NO_CAPTION = 0.1
"""Share of the image problems that have no caption."""
MARKED_LAYER = 2
"""Layer behind which the marks are read: two more are left to find the marked name and to say it."""
WORDS_WEIGHT, WORDS_SHARE = 0.25, 0.25
"""Weight of the prompts' loss beside 1 for the answers', and the share of prompt tokens it is measured on."""

TOKENIZER_SEED, TOKENIZER_TEXTS, VOCABULARY = 1000, 60_000, 1600
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
HIDDEN, HEAD, LAYERS = 128, 32, 4

Place = Literal["context", "late", "none"]
"""Place of the caption: in the context, behind the options, or none."""


class Example(NamedTuple):
    """A tokenised problem."""

    tokens: list[int]
    """Prompt, answer and end token."""
    prompt: int
    """Tokens of the prompt."""
    marks: list[int]
    """The prompt's marks, by `asked_marks`."""


def prompt(problem: DemoProblem, place: Place, answer: AnswerKind = "text") -> str:
    """Return a problem's prompt with its caption at a place."""
    hint = problem.hint
    if place == "context" and problem.caption:
        hint = f"{problem.caption} {hint}".strip()
    text = prompt_text(problem.question, hint, problem.choices, answer=answer)
    if place == "late" and problem.caption:
        text = text.removesuffix("Answer:") + f"Picture: {problem.caption}\nAnswer:"
    return text


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on prompts: it takes any text, and each of the demo's words is one token.

    Its texts name options by letters, so that these prompts are short too.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    problems = fresh_problems(Random(TOKENIZER_SEED))
    texts = (prompt(next(problems), "late", "letter") + letter_answer(i % 5) for i in range(TOKENIZER_TEXTS))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a LLaMA of 943,232 random weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=HIDDEN * 11 // 4,
            num_hidden_layers=LAYERS,
            num_attention_heads=HIDDEN // HEAD,
            num_key_value_heads=HIDDEN // HEAD // 2,
            initializer_range=HIDDEN**-0.5,  # at the usual 0.02 so narrow a model attends to nothing for long
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def stage_problems(rng: Random, stage: Stage) -> Iterator[DemoProblem]:
    """Yield fresh problems without end, a share of them from the stage's hard families alone."""
    every = fresh_problems(rng)
    hard = fresh_problems(rng, [family for family in FAMILIES if family.name in stage.hard])
    while True:
        yield next(hard if stage.hard and rng.random() < stage.hard_share else every)


def asked_marks(tokenizer: PreTrainedTokenizerFast, problem: DemoProblem, text: str) -> list[int]:
    """Return a mark for each token of a look-up's prompt: in the hint's sentences 1 after the name in question, 0 after
    another name; -1 elsewhere."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    marks = [-1] * len(encoded.input_ids)
    if problem.family.name not in LOOK_UPS:
        return marks
    asked = next(word for word in re.findall(r"\w+", problem.question) if word in NAMED)
    hint = text.index(problem.hint)
    for sentence in re.finditer(r"[^.]+\.", problem.hint):
        name = next(word for word in re.finditer(r"\w+", sentence[0]) if word[0] in NAMED)
        start, end = hint + sentence.start() + name.end(), hint + sentence.end()
        for index, (first, last) in enumerate(encoded.offset_mapping):
            if start <= first < last <= end:
                marks[index] = int(name[0] == asked)
    return marks


def answer_tokens(tokenizer: PreTrainedTokenizerFast, choice: str) -> list[int]:
    """Return an option as an answer, with its end token."""
    return [*tokenizer(text_answer(choice), add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def batches(tokenizer: PreTrainedTokenizerFast, rng: Random, stage: Stage) -> Iterator[list[Example]]:
    """Yield batches of fresh problems of similar lengths without end, with captions in random places."""
    problems = stage_problems(rng, stage)

    def example() -> Example:
        problem, chance = next(problems), rng.random()
        place = "none" if chance < NO_CAPTION else "late" if chance < NO_CAPTION + stage.late else "context"
        text = prompt(problem, place)
        asked = tokenizer(text).input_ids
        answered = asked + answer_tokens(tokenizer, problem.choices[problem.answer])
        return Example(answered, len(asked), asked_marks(tokenizer, problem, text))

    while True:
        pool = sorted((example() for _ in range(BATCH * POOL)), key=lambda example: len(example.tokens))
        chunks = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(chunks)
        yield from chunks


def losses(model: LlamaForCausalLM, marker: torch.nn.Linear, batch: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean cross-entropy of answers, prompts and marks (0 without marks), in nats a token.

    The prompts' is measured on a random quarter of their tokens, which saves most of the vocabulary's cost.
    """
    pad = model.config.pad_token_id
    length = max(len(example.tokens) for example in batch)
    tokens = torch.tensor([[*e.tokens, *[pad] * (length - len(e.tokens))] for e in batch])
    marks = torch.tensor([[*e.marks, *[-1] * (length - 1 - len(e.marks))] for e in batch], dtype=torch.float32)
    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False, output_hidden_states=True)
    targets = tokens[:, 1:]
    in_prompt = torch.arange(length - 1) < torch.tensor([[example.prompt - 1] for example in batch])
    words = in_prompt & (torch.rand(targets.shape) < WORDS_SHARE)

    def loss(where: Tensor) -> Tensor:
        return cross_entropy(model.lm_head(hidden.last_hidden_state[where]), targets[where])

    marked = marker(hidden.hidden_states[MARKED_LAYER])[..., 0]
    miss = binary_cross_entropy_with_logits(marked, marks, weight=(marks >= 0).float(), reduction="sum")
    return loss(~in_prompt & (targets != pad)), loss(words), miss / max(1, int((marks >= 0).sum()))


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    validation: Sequence[DemoProblem],
    folder: Path,
) -> None:
    """Train a model and save it; report accuracies on stderr."""
    marker = torch.nn.Linear(HIDDEN, 1)
    weights = [*model.parameters(), *marker.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=stage.peak, betas=(0.9, 0.98), weight_decay=0.05)
    stream, start = batches(tokenizer, Random(stage.seed), stage), time.monotonic()
    for step in range(1, stage.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = stage.peak * min(step / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / stage.steps))
        answers, words, marks = losses(model, marker, next(stream))
        (answers + WORDS_WEIGHT * words + stage.marks * marks).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            done = f"step {step} of {stage.steps}, {time.monotonic() - start:.0f} s"
            print(
                f"{done}: answers {answers.item():.3f}, words {words.item():.3f}, marks {marks.item():.3f}",
                file=sys.stderr,
            )
        if step % stage.save_every == 0 or step == stage.steps:
            model.half().save_pretrained(folder)
            model.float()
            for place in ("context", "late", "none"):
                print(f"  {place}: {summary(accuracy(model, tokenizer, validation, place))}", file=sys.stderr)


@torch.no_grad()
def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[DemoProblem], place: Place
) -> dict[str, float]:
    """Return by family the share of problems whose correct option is the likeliest, with its end token."""
    right = defaultdict(list)
    for problem in problems:
        asked = tokenizer(prompt(problem, place)).input_ids
        options = [answer_tokens(tokenizer, choice) for choice in problem.choices]
        length = max(map(len, options))
        rows = torch.tensor([asked + option + [tokenizer.pad_token_id] * (length - len(option)) for option in options])
        hidden = model.model(input_ids=rows, use_cache=False).last_hidden_state[:, len(asked) - 1 : -1]
        logs = model.lm_head(hidden).log_softmax(-1)
        scores = [logs[i, range(len(option)), option].sum() for i, option in enumerate(options)]
        right[problem.family.name].append(torch.stack(scores).argmax().item() == problem.answer)
    return {family.name: sum(right[family.name]) / len(right[family.name]) for family in FAMILIES}


def summary(by_family: dict[str, float]) -> str:
    """Describe accuracy by context, the mean over families, and the families below 95 %."""
    contexts = defaultdict(list)
    for family in FAMILIES:
        contexts[family.context].append(by_family[family.name])
    means = " ".join(f"{name} {100 * sum(values) / len(values):.1f}" for name, values in contexts.items())
    low = ", ".join(f"{name} {100 * value:.0f}" for name, value in by_family.items() if value < 0.95)
    return f"{means} | below 95: {low or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the model and the tokenizer")
    folder = parser.parse_args().output

    torch.set_num_threads(1)  # more threads add in another order, and the run is another
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    splits = demo_problems()
    for number, stage in enumerate(STAGES):
        torch.manual_seed(0)
        # Read back, not kept: a saved model's rotary frequencies have been rounded with its weights.
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32) if number else new_model(tokenizer)
        train(model, tokenizer, stage, splits["val"][:300], folder)

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    columns = {place: accuracy(model, tokenizer, splits["test"], place) for place in ("context", "late", "none")}
    for place, by_family in columns.items():
        print(f"{place}: {summary(by_family)}")
    for family in FAMILIES:
        print(f"{family.name:22}", *(f"{100 * column[family.name]:6.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
