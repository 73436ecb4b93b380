"""The template: what the model reads, and what it has to write.

`--answer letter` is the original ScienceQA template (lupantech/ScienceQA, models/base_prompt.py, MIT) with
the paper's parenthesised answer (arXiv 2303.16199, section 4.1: question, textual context, options; Figure 3:
"The answer is (A)."). `--answer text` lists the options without letters and asks for the option's own text,
because a small LM does not bind options to letters. Prompt and answer are joined as they stand: an answer
opens with its space.
"""

from collections.abc import Sequence
from typing import Literal

from mmadapter.scienceqa.problems import LETTERS

AnswerKind = Literal["letter", "text"]

LETTER_ANSWER_PREFIX = " The answer is ("
"""Opening of every letter answer; letters are scored at the position after it."""


def prompt_text(question: str, hint: str | None, choices: Sequence[str], *, answer: AnswerKind = "letter") -> str:
    """Write the prompt of a question, from "Question:" to "Answer:".

    A hint that is empty or unknown reads "N/A". A prompt that is too long for a model is the caller's to
    shorten, by giving a shorter hint.
    """
    if answer == "letter":
        lettered = zip(LETTERS[: len(choices)], choices, strict=True)
        options = " ".join(f"({letter}) {choice}" for letter, choice in lettered)
    else:
        options = ", ".join(choices)
    context = (hint or "").strip() or "N/A"
    return _collapsed(f"Question: {question}\nContext: {context}\nOptions: {options}\nAnswer:")


def letter_answer(index: int) -> str:
    """The answer by letter: ` The answer is (C).` for index 2."""
    return f"{LETTER_ANSWER_PREFIX}{LETTERS[index]})."


def text_answer(choice: str) -> str:
    """The answer by text: the option after one space, spelled as in `prompt_text`."""
    return " " + _collapsed(choice.strip())


def _collapsed(text: str) -> str:
    # Once, as the original does: three spaces become two.
    return text.replace("  ", " ")
