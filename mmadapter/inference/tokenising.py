"""Problems as tokens: the prompt, and the answer that each option would be."""

from __future__ import annotations

from bisect import bisect_right
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
from mmadapter.storage.keys import content_key
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir


@dataclass(frozen=True, slots=True)
class Encoded:
    """One problem as tokens. Answers are never cut; a prompt that is too long loses the middle of its hint."""

    pid: str
    prompt: list[int]
    target: list[int]
    """The right answer and the end-of-text token, which training teaches after the prompt."""
    options: list[list[int]]
    """The answers that scoring compares after the prompt: up to their letter, or texts with their end-of-text token."""
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
        self._opening_ids = self._ids(self._opening)
        self._targets: dict[str, list[int]] = {}
        letters = [self._target(letter_answer(index)) for index in range(len(LETTERS))]
        differ = [at for at, tokens in enumerate(zip(*letters, strict=False)) if len(set(tokens)) > 1]
        self._scored = None
        """Tokens of an answer that are compared: all (None), or up to the letter if no other token differs."""
        if form.answer == "letter" and len(differ) == 1 and len({*map(len, letters)}) == 1:
            self._scored = differ[0] + 1

    def __call__(self, problems: Iterable[Problem]) -> list[Encoded]:
        """Encode problems in order, or read them from `tokens/` in the cache if they are there.

        Raises:
            UserError: a problem does not fit `max_tokens` even without its hint.
        """
        problems = list(problems)
        path = cache_dir() / "tokens" / f"{self._key(problems)}.parquet"
        with suppress(OSError, ValueError, TypeError):  # missing or damaged: encode them again
            return [Encoded(**row) for row in pq.read_table(path).to_pylist()]
        texts = [self._prompt_text(problem, problem.hint) for problem in problems]
        prompts = self.llm.tokenizer(texts, add_special_tokens=False).input_ids if texts else []
        questions = [self._encode(problem, ids) for problem, ids in zip(problems, prompts, strict=True)]
        table = pa.Table.from_pylist([{name: getattr(q, name) for name in Encoded.__slots__} for q in questions])
        with sole_writer(path.parent, wait=lambda _: None):
            write_whole(path, lambda part: pq.write_table(table, part))
        return questions

    def prompt(self, problem: Problem) -> list[int]:
        """Encode a prompt alone, whole, for free generation."""
        return self.llm.bos + self._ids(self._prompt_text(problem, problem.hint))

    def answers(self, choices: Sequence[str]) -> list[str]:
        """Return the text that training teaches for each option."""
        if self.answer == "letter":
            return [letter_answer(index) for index in range(len(choices))]
        spell = response_text if self.answer == "response" else text_answer
        return [spell(choice) for choice in choices]

    def _key(self, problems: Sequence[Problem]) -> str:
        """Hash everything that decides the tokens."""
        form = [self.llm.bos, self.answer, self.max_tokens]
        asked = [[p.pid, p.question, p.hint, p.choices, p.answer] for p in problems]
        return content_key([self.llm.tokenizer.backend_tokenizer.to_str(), form, asked])[:32]

    def _encode(self, problem: Problem, prompt: list[int]) -> Encoded:
        targets = [self._target(text) for text in self.answers(problem.choices)]
        room = self.max_tokens - len(self.llm.bos) - max(map(len, targets))
        truncated = len(prompt) > room
        if truncated:
            prompt = self._shortened(problem, room)
        options = [target[: self._scored] for target in targets]
        return Encoded(problem.pid, self.llm.bos + prompt, targets[problem.answer], options, problem.answer, truncated)

    def _prompt_text(self, problem: Problem, hint: str | None) -> str:
        """Return the prompt of a question with this hint, or of an instruction with this input."""
        if self.answer == "response":
            return instruction_prompt(problem.question, hint)
        return prompt_text(problem.question, hint, problem.choices, answer=self.answer)

    def _target(self, text: str) -> list[int]:
        """Encode an answer as it follows the prompt, and add the end-of-text token."""
        if text not in self._targets:
            whole, start = self._ids(self._opening + text), len(self._opening_ids)
            if whole[:start] != self._opening_ids:
                raise UserError(f"{self.llm.name}: this tokenizer joins {self._opening!r} with the answer {text!r}")
            self._targets[text] = [*whole[start:], self.llm.tokenizer.eos_token_id]
        return self._targets[text]

    def _shortened(self, problem: Problem, room: int) -> list[int]:
        """Encode the prompt with as many of its hint's first and last words as fit into `room` tokens."""
        words = (problem.hint or "").split(" ")

        def with_words(kept: int) -> list[int]:
            hint = " ".join([*words[: (kept + 1) // 2], "...", *words[len(words) - kept // 2 :]])
            return self._ids(self._prompt_text(problem, hint))

        too_many = bisect_right(range(len(words)), room, key=lambda kept: len(with_words(kept)))
        if too_many == 0:
            response = self.answer == "response"
            whole, cut = ("instruction and response", "input") if response else ("question and options", "hint")
            raise UserError(
                f"problem {problem.pid}: {whole} do not fit into {self.max_tokens} tokens "
                f"even without the {cut}; raise --max-tokens"
            )
        return with_words(too_many - 1)

    def _ids(self, text: str) -> list[int]:
        return self.llm.tokenizer(text, add_special_tokens=False).input_ids
