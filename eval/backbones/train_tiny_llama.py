"""Train the embedded tiny LLaMA and its tokenizer on fresh demo problems, a caption standing for each picture.

    python eval/backbones/train_tiny_llama.py --output assets/tiny-llama

Every step sees problems that no step saw before; those of the demo's val and test splits (seeds 0 to 4) are
left out. What is learnt late is to match an answer with its option's letter: the loss stays at that of a
guess for several hundred steps first.

A picture reaches the model later through an adapter, at every position and from the lower layers up, never as
words of a context. So the caption stands at one of two places: in the context, as a hint does, or behind the
options, where the model has to carry it to the answer and look the options through from there. A share of
the problems has no caption; its letter, which is then a coin's, gets no loss.

What is slow to emerge is helped (with all three, options are looked up after 500 steps; without, not after 750):
- after its end token a problem goes on with some of its options and their letters ("oval is (B)."): to look
  up the letter of a text is half of what an answer takes; the first steps see the options and nothing else;
- half of the heads begin by looking one to four tokens back, the others by looking for tokens like the one
  they are at (`prepare_heads`);
- matrices are trained by Muon.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from fresh import fresh_problems
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mmadapter.demo import FAMILIES, DemoProblem, demo_problems
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.scienceqa.prompt import LETTER_ANSWER_PREFIX, letter_answer, prompt_text

VOCABULARY = 1600
BATCH = 48
POOL = 16
"""Batches that are sorted by length together, so that little is padded."""
LATE, NO_CAPTION = 0.35, 0.1
"""Shares of the image problems whose caption stands behind the options, and that have none."""
WORDS_WEIGHT, OPTIONS_WEIGHT = 0.1, 1.0
"""Weights of the losses beside 1 for the answers' letters: most words of a problem are chance."""
LOOKUPS = 3
"""Options whose letters are asked for behind each problem."""
OPTIONS_STEPS = 640
"""Steps that see options alone."""
PAD, BOS, EOS = "<pad>", "<s>", "</s>"


@dataclass(frozen=True)
class Example:
    """A tokenised problem with its answer, its end token and its options' letters."""

    tokens: list[int]
    letters: list[int]
    """Indices in `tokens` of the letters that can be known."""
    unknowable: int | None
    """Index of the answer's letter where no caption tells it."""


def prompt(problem: DemoProblem, place: str) -> str:
    """A problem's prompt with its caption at a place: "context", "late" (behind the options) or "none"."""
    hint = problem.hint
    if place == "context" and problem.caption:
        hint = f"{hint} {problem.caption}".strip()
    text = prompt_text(problem.question, hint, problem.choices)
    if place == "late" and problem.caption:
        text = text.removesuffix("Answer:") + f"Picture: {problem.caption}\nAnswer:"
    return text


def train_tokenizer(rng: Random) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 60,000 prompts: any text passes, and the demo's words are one token each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    problems = fresh_problems(rng)
    texts = (prompt(next(problems), "late") + letter_answer(i % 5) for i in range(60_000))
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


def batches(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[list[Example]]:
    """Batches of fresh examples without end, of similar lengths; the first ones of options alone."""
    problems = fresh_problems(rng)
    for pool_number in itertools.count():
        options_only = pool_number * POOL < OPTIONS_STEPS
        pool = [example(tokenizer, rng, next(problems), options_only) for _ in range(BATCH * POOL)]
        pool.sort(key=lambda example: len(example.tokens))
        chunks = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(chunks)
        yield from chunks


def example(tokenizer: PreTrainedTokenizerFast, rng: Random, problem: DemoProblem, options_only: bool) -> Example:
    """Tokenise a problem, its caption in a random place; or its options alone."""
    chance = rng.random() if problem.caption else 1.0
    place = "late" if chance < LATE else "none" if chance < LATE + NO_CAPTION else "context"
    lettered = [f" {choice} is ({letter})." for letter, choice in zip(LETTERS, problem.choices, strict=False)]
    lettered = rng.choices(lettered, k=LOOKUPS)
    text = prompt(problem, place) + letter_answer(problem.answer)
    if options_only:
        text, place = text[text.index("Options:") :], "none"
    first, *rest = tokenizer([text, *lettered]).input_ids
    tokens, letters = [*first, tokenizer.eos_token_id], [len(first) - 2]  # the letter and ")." come last
    for _, *piece in rest:  # without the opening token
        tokens += piece
        letters.append(len(tokens) - 2)
    return Example(tokens, letters, None) if place != "none" else Example(tokens, letters[1:], letters[0])


def losses(model: LlamaForCausalLM, batch: Sequence[Example], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss of the words, of the options' letters, and of the answers' letters."""
    length = max(len(example.tokens) for example in batch)
    tokens = torch.tensor([[*e.tokens, *[pad] * (length - len(e.tokens))] for e in batch])
    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    targets = tokens[:, 1:]

    def loss(chosen: Tensor | list[tuple[int, int]]) -> Tensor:
        where = chosen if isinstance(chosen, Tensor) else tuple(torch.tensor(chosen).T)
        return cross_entropy(model.lm_head(hidden[where]), targets[where])

    # A quarter of the positions is enough for the words and saves most of the vocabulary's cost.
    words = (targets != pad) & (torch.rand(targets.shape) < 0.25)
    options, answers = [], []
    for row, example in enumerate(batch):
        places = [(row, at - 1) for at in example.letters]
        if example.unknowable is None:
            answers.append(places.pop(0))
        else:
            words[row, example.unknowable - 1] = False
        options += places
    return loss(words), loss(options), loss(answers) if answers else torch.zeros(())


@torch.no_grad()
def prepare_heads(model: LlamaForCausalLM) -> None:
    """Let heads begin as what they are found to become: a look a few tokens back, or a search for the same token.

    All embeddings get a common part. In every layer the first half of the heads gets queries and keys that
    depend on this part alone, so that rotary embedding makes of them a function of the distance, greatest at 1
    to 4 tokens. In the other half queries start equal to their keys.
    """
    config, size = model.config, model.config.head_dim
    group = config.num_attention_heads // config.num_key_value_heads
    common = torch.randn(config.hidden_size)
    common /= common.norm()
    embedding = model.get_input_embeddings().weight
    embedding += embedding.norm(dim=1).mean() * common
    frequencies = config.rope_parameters["rope_theta"] ** -(torch.arange(size // 2) / (size // 2))
    for attention in (layer.self_attn for layer in model.model.layers):
        queries = attention.q_proj.weight.unflatten(0, (-1, size))
        keys = attention.k_proj.weight.unflatten(0, (-1, size))
        queries.copy_(keys.repeat_interleave(group, dim=0))
        for head in range(len(queries) // 2):
            angle = -(head % 4 + 1) * frequencies
            query = torch.cat([angle.cos() - angle.sin(), angle.cos() + angle.sin()]) / size**0.5
            queries[head] = 0.3 * queries[head] + query[:, None] * common
        local = keys[: len(keys) // 2]
        local.copy_(0.3 * local + common / size**0.5)


@torch.no_grad()
def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[DemoProblem], place: str
) -> dict[str, float]:
    """Share of right answers by family, the letters compared after " The answer is ("."""
    letters = torch.tensor([tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in LETTERS])
    right = defaultdict(list)
    ordered = sorted(problems, key=lambda problem: len(prompt(problem, place)))
    for start in range(0, len(ordered), 100):
        part = ordered[start : start + 100]
        ids = tokenizer([prompt(problem, place) + LETTER_ANSWER_PREFIX for problem in part]).input_ids
        tokens = torch.tensor([[*row, *[0] * (max(map(len, ids)) - len(row))] for row in ids])
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        last = hidden[range(len(part)), [len(row) - 1 for row in ids]]
        scores = model.lm_head(last)[:, letters]
        for problem, row in zip(part, scores, strict=True):
            prediction = row[: len(problem.choices)].argmax().item()
            right[problem.family.name].append(prediction == problem.answer)
    return {name: sum(answers) / len(answers) for name, answers in sorted(right.items())}


def summary(by_family: dict[str, float]) -> str:
    """Accuracy by context, and the families below 95 %."""
    contexts = defaultdict(list)
    for family in FAMILIES:
        contexts[family.context].append(by_family[family.name])
    means = " ".join(f"{name} {100 * sum(values) / len(values):.1f}" for name, values in contexts.items())
    low = ", ".join(f"{name} {100 * value:.0f}" for name, value in by_family.items() if value < 0.95)
    return f"{means} | below 95: {low or 'none'}"


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in float16, and the tokenizer."""
    dtype = model.dtype
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.to(dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the model and the tokenizer")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--peak", type=float, default=1.2e-2, help="peak learning rate of the matrices")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="on a machine that others use, 1 is fastest")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = Random(args.seed + 1000)  # not the demo's own generator
    tokenizer = train_tokenizer(rng)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden,
        intermediate_size=args.hidden * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 16,
        num_key_value_heads=args.hidden // 32,
        initializer_range=0.05,  # at the usual 0.02 so narrow a model attends to nothing for long
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    print(f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer)}", file=sys.stderr)
    prepare_heads(model)
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2] + [model.get_input_embeddings().weight]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.peak, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=args.peak / 6, betas=(0.9, 0.98), weight_decay=0.05),
    ]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    peaks = [group["lr"] for group in groups]
    validation = demo_problems()["val"]
    stream, start = batches(tokenizer, rng), time.monotonic()
    for step in range(1, args.steps + 1):
        share = min(step / 50, 0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = share * peak
        words, options, answers = losses(model, next(stream), tokenizer.pad_token_id)
        (WORDS_WEIGHT * words + OPTIONS_WEIGHT * options + answers).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        if step % 50 == 0:
            seconds = time.monotonic() - start
            left = seconds / step * (args.steps - step)
            print(
                f"step {step}: words {words.item():.3f}, options {options.item():.3f}, "
                f"answers {answers.item():.3f}, {seconds:.0f} s, {left:.0f} s left",
                file=sys.stderr,
            )
        if step % 250 == 0 or step == args.steps:
            save(model, tokenizer, args.output)
            for place in ("context", "late"):
                print(f"  {place}: {summary(accuracy(model, tokenizer, validation, place))}", file=sys.stderr)
    test = demo_problems()["test"]
    columns = {place: accuracy(model, tokenizer, test, place) for place in ("context", "late", "none")}
    for family in FAMILIES:
        print(f"{family.name:22}", *(f"{100 * column[family.name]:6.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
