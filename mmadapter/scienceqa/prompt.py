"""The template of ScienceQA's prompts and answers.

`--answer letter` is the original template (lupantech/ScienceQA, models/base_prompt.py, MIT) with the paper's
parenthesised answer (arXiv 2303.16199, section 4.1: question, textual context, options; Figure 3: "The answer is
(A)."). `--answer text` lists the options without letters and asks for the option's own text, because a small language
model does not bind options to letters. An answer opens with a space, so it can be appended to its prompt.
"""

from collections.abc import Sequence
from typing import Literal

from mmadapter.scienceqa.problems import LETTERS

AnswerKind = Literal["letter", "text"]

LETTER_ANSWER_PREFIX = " The answer is ("
"""The opening of every letter answer; the letters are scored at the position after it."""


def prompt_text(question: str, hint: str | None, choices: Sequence[str], *, answer: AnswerKind = "letter") -> str:
    """Return the prompt of one question, from "Question:" to "Answer:"; an empty or unknown hint reads "N/A"."""
    if answer == "letter":
        options = " ".join(f"({letter}) {x}" for letter, x in zip(LETTERS[: len(choices)], choices, strict=True))
    else:
        options = ", ".join(choices)
    context = (hint or "").strip() or "N/A"
    return _collapsed(f"Question: {question}\nContext: {context}\nOptions: {options}\nAnswer:")


def letter_answer(index: int) -> str:
    """Return ` The answer is (C).` for index 2."""
    return f"{LETTER_ANSWER_PREFIX}{LETTERS[index]})."


def text_answer(choice: str) -> str:
    """Return the option's own text after one space, spelled as `prompt_text` spells it."""
    return " " + _collapsed(choice.strip())


def _collapsed(text: str) -> str:
    return text.replace("  ", " ")  # once, as in the original: three spaces become two
