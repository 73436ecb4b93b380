"""Tokenise problems: the prompt, and the answer for each option."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.instructions.template import OPENING, instruction_prompt, response_text
from mmadapter.scienceqa.problems import LETTERS, Problem
from mmadapter.scienceqa.prompt import letter_answer, prompt_text, text_answer
from mmadapter.storage.files import write_whole
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir


@dataclass(frozen=True, slots=True)
class Encoded:
    """A problem as tokens. An answer is never cut; a prompt that is too long loses the middle of its hint."""

    pid: str
    prompt: list[int]
    target: list[int]
    """The answer to learn: the right one and the end-of-text token."""
    options: list[list[int]]
    """The answers to compare: up to their letter, or option texts with their end."""
    answer: int
    truncated: bool

    @property
    def read_tokens(self) -> list[int]:
        """The model's input in training: the prompt and the target without its last token."""
        return self.prompt + self.target[:-1]


class Encoder:
    """Tokenises problems for one language model and one form of answer."""

    def __init__(self, llm: LanguageModel, form: InputFormat) -> None:
        self.llm, self.answer, self.max_tokens = llm, form.answer, form.max_tokens
        self._opening = OPENING if form.answer == "response" else "Answer:"
        self._anchor = self._ids(self._opening)
        self._targets: dict[str, list[int]] = {}
        letters = [self._target(letter_answer(index)) for index in range(len(LETTERS))]
        differ = [at for at, tokens in enumerate(zip(*letters, strict=False)) if len(set(tokens)) > 1]
        self._scored = None
        """Number of answer tokens that are compared: all (None), or up to the letter if only that one differs."""
        if form.answer == "letter" and len(differ) == 1 and len({*map(len, letters)}) == 1:
            self._scored = differ[0] + 1

    def __call__(self, problems: Iterable[Problem]) -> list[Encoded]:
        """Encode problems in order, reading from `tokens/` of the cache where that has been done before.

        Raises:
            UserError: a problem does not fit `max_tokens` even without its hint.
        """
        problems = list(problems)
        path = cache_dir() / "tokens" / f"{self._key(problems)}.parquet"
        with suppress(OSError, ValueError, TypeError):  # not there, or damaged: then it is made again
            return [Encoded(**row) for row in pq.read_table(path).to_pylist()]
        questions = self._encode_all(problems)
        table = pa.Table.from_pylist([{name: getattr(q, name) for name in Encoded.__slots__} for q in questions])
        with sole_writer(path.parent, wait=lambda told: None):
            write_whole(path, lambda part: pq.write_table(table, part))
        return questions

    def _key(self, problems: Sequence[Problem]) -> str:
        """Hash everything that decides the tokens."""
        form = [self.llm.bos, self.answer, self.max_tokens]
        asked = [[p.pid, p.question, p.hint, p.choices, p.answer] for p in problems]
        digest = hashlib.sha256(self.llm.tokenizer.backend_tokenizer.to_str().encode())
        digest.update(json.dumps([form, asked]).encode())
        return digest.hexdigest()[:32]

    def _encode_all(self, problems: Sequence[Problem]) -> list[Encoded]:
        texts = [self._prompt_text(p, p.hint) for p in problems]
        prompts = self.llm.tokenizer(texts, add_special_tokens=False).input_ids if texts else []
        return [self._encode(problem, ids) for problem, ids in zip(problems, prompts, strict=True)]

    def _encode(self, problem: Problem, prompt: list[int]) -> Encoded:
        targets = [self._target(text) for text in self.answers(problem.choices)]
        room = self.max_tokens - len(self.llm.bos) - max(map(len, targets))
        truncated = len(prompt) > room
        if truncated:
            prompt = self._shortened(problem, room)
        options = [target[: self._scored] for target in targets]
        prompt = self.llm.bos + prompt
        return Encoded(problem.pid, prompt, targets[problem.answer], options, problem.answer, truncated)

    def prompt(self, problem: Problem) -> list[int]:
        """Tokenise a whole prompt alone, for free answers."""
        return self.llm.bos + self._ids(self._prompt_text(problem, problem.hint))

    def _prompt_text(self, problem: Problem, hint: str | None) -> str:
        """Write the prompt of a problem, or of an instruction with its input, with this hint."""
        if self.answer == "response":
            return instruction_prompt(problem.question, hint)
        return prompt_text(problem.question, hint, problem.choices, answer=self.answer)

    def answers(self, choices: Sequence[str]) -> list[str]:
        """The answer text of each option."""
        if self.answer == "letter":
            return [letter_answer(index) for index in range(len(choices))]
        spell = response_text if self.answer == "response" else text_answer
        return [spell(choice) for choice in choices]

    def _target(self, text: str) -> list[int]:
        """Tokenise an answer as it follows the prompt, with the end-of-text token."""
        if text not in self._targets:
            whole = self._ids(self._opening + text)
            if whole[: len(self._anchor)] != self._anchor:
                raise UserError(f"{self.llm.name}: this tokenizer joins {self._opening!r} with the answer {text!r}")
            self._targets[text] = [*whole[len(self._anchor) :], self.llm.tokenizer.eos_token_id]
        return self._targets[text]

    def _shortened(self, problem: Problem, room: int) -> list[int]:
        """The prompt with the middle of its hint cut to fit into `room` tokens."""
        words = (problem.hint or "").split(" ")
        fitting, low, high = None, 0, len(words)
        while low < high:  # bisection for the largest number of words that fits
            kept = (low + high) // 2
            hint = " ".join([*words[: (kept + 1) // 2], "...", *words[len(words) - kept // 2 :]])
            ids = self._ids(self._prompt_text(problem, hint))
            if len(ids) <= room:
                fitting, low = ids, kept + 1
            else:
                high = kept
        if fitting is None:
            what = (
                ("instruction and response", "input") if self.answer == "response" else ("question and options", "hint")
            )
            raise UserError(
                f"problem {problem.pid}: {what[0]} do not fit into {self.max_tokens} tokens "
                f"even without the {what[1]}; raise --max-tokens"
            )
        return fitting

    def _ids(self, text: str) -> list[int]:
        return self.llm.tokenizer(text, add_special_tokens=False).input_ids
