"""From a generated text to an option: the answer extraction rules of ScienceQA's evaluators, by name.

A score depends on the rule that read the answers: the official script answers what it cannot read at random
(1.4 points of GPT-3's IMG accuracy are guesses), others call it wrong. So every number here stands beside its
rule, the number of answers that the rule could not read, and what guessing them is worth.

Where an original guesses, it draws from one global generator (LaVIN's and mm-cot's are never seeded): its
guesses depend on the order of the questions. Here a guess is drawn from rule and pid alone, so that it is the
same in any order and on any subset. That is the only deviation, but for those that a rule names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import LETTERS

if TYPE_CHECKING:
    import pandas as pd


class Parsed(NamedTuple):
    """The option that a rule read in one text."""

    prediction: int | None
    """Index of the option; None if there is none, and the answer is wrong."""
    reason: str | None = None
    """Why the text did not parse; None if it did. With a prediction beside it, that one is a guess."""


RuleName = Literal["strict", "official", "llava", "lavin", "mmcot", "lmms-eval"]
Rule = Callable[[str, int, str], Parsed]
"""text, number of options of the question, pid -> Parsed."""

OFFICIAL = re.compile(r"The answer is ([A-Z]).")  # the last dot is unescaped in the original: any character
MM_COT = re.compile(r"The answer is \(([A-Z])\)")

_STATED = re.compile(r"\b[Tt]he answer is:?\s*\(?([A-E])\b")
_MENTIONED = (re.compile(r"\(([A-E])\)"), re.compile(r"\A\s*([A-E])(?:[.):]|\s*\Z)"))


def strict(text: str, n_choices: int, pid: str) -> Parsed:
    """One distinct letter, and it is one of this question's options; else wrong.

    Letters count where the text says `The answer is X`. Only a text that never says so is read by `(X)` anywhere, an
    opening `X.`, or `X` alone: reasoning may mention an allele "(B)" or a "point (A)".
    """
    letters = set(_STATED.findall(text)) or {letter for pattern in _MENTIONED for letter in pattern.findall(text)}
    if len(letters) != 1:
        return Parsed(None, f"several letters: {' '.join(sorted(letters))}" if letters else "no letter")
    return _among_options(letters.pop(), n_choices)


def official(text: str, n_choices: int, pid: str) -> Parsed:
    """ScienceQA's `models/run_gpt3.py`: exactly one `The answer is X.`, else a random option of the question."""
    return _or_guess(_exactly_one(OFFICIAL, text.strip(), n_choices), n_choices, f"official {pid}")


def llava(text: str, n_choices: int, pid: str) -> Parsed:
    """LLaVA's `eval_science_qa.py`: `X` alone, `X. ...`, or exactly one `The answer is X.`; else wrong."""
    if (text in LETTERS and len(text) == 1) or (text[:1] in tuple(LETTERS) and text[1:3] == ". "):
        return _among_options(text[0], n_choices)
    return _exactly_one(OFFICIAL, text, n_choices)


def lavin(text: str, n_choices: int, pid: str) -> Parsed:
    """LaVIN's `eval.py`: the first `The answer is X.`, else a random option of the question."""
    found = OFFICIAL.search(text)
    parsed = _among_options(found[1], n_choices) if found else Parsed(None, "no 'The answer is X.'")
    return _or_guess(parsed, n_choices, f"lavin {pid}")


def mm_cot(text: str, n_choices: int, pid: str) -> Parsed:
    """mm-cot's `main.py`: exactly one `The answer is (X)`, else one of the five letters at random.

    A letter that this question does not have is kept by the original, and wrong: no prediction here.
    """
    found = MM_COT.findall(text)
    if len(found) == 1 and found[0] in LETTERS:
        return _among_options(found[0], n_choices)
    reason = f"'The answer is (X)' {len(found)} times" if len(found) != 1 else f"no such letter: {found[0]}"
    guess = random.Random(f"mmcot {pid}").randrange(len(LETTERS))
    return Parsed(guess if guess < n_choices else None, reason)


def lmms_eval(text: str, n_choices: int, pid: str) -> Parsed:
    """lmms-eval's `scienceqa/utils.py`: the whole text is `X` or `x`, or it starts with `X.`; else wrong."""
    text = text.strip()
    if len(text) == 1 and text.upper() in LETTERS:
        return _among_options(text.upper(), n_choices)
    if text[:1].isupper() and text[1:2] == ".":
        return _among_options(text[0], n_choices)
    return Parsed(None, "neither 'X' nor 'X. ...'")


RULES: dict[str, Rule] = {
    "strict": strict,
    "official": official,
    "llava": llava,
    "lavin": lavin,
    "mmcot": mm_cot,
    "lmms-eval": lmms_eval,
}


def parse_outputs(outputs: pd.Series, n_choices: pd.Series, rule: str) -> pd.DataFrame:
    """Read every text by a rule.

    Args:
        outputs: generated texts, indexed by pid.
        n_choices: number of options, indexed by (at least) the same pids.
        rule: a name in `RULES`.

    Returns:
        Indexed like `outputs`: `prediction` (Int64) and `unparsed` (string, the reason; <NA> if it parsed).

    Raises:
        UserError: no such rule.
    """
    import pandas as pd

    if rule not in RULES:
        raise UserError(f"no such rule: {rule!r}\n  rules: {', '.join(RULES)}")
    sizes = n_choices.reindex(outputs.index)
    pids = outputs.index.astype(str)
    parsed = [RULES[rule](*question) for question in zip(outputs, map(int, sizes), pids, strict=True)]
    return pd.DataFrame(
        {
            "prediction": pd.array([p.prediction for p in parsed], dtype="Int64"),
            "unparsed": pd.array([p.reason for p in parsed], dtype="string"),
        },
        index=outputs.index,
    )


def random_credit(unparsed: pd.Series, n_choices: pd.Series) -> float:
    """Points of accuracy that a random option for every unparsed answer is worth, on average.

    What the official rule would add to these answers: the sum of 1 / n_choices over them, in percent of all.

    Args:
        unparsed: bool, true where the answer did not parse.
        n_choices: number of options of the same questions.
    """
    return float((unparsed.astype(bool) / n_choices).mean() * 100)


def _among_options(letter: str, n_choices: int) -> Parsed:
    index = ord(letter) - ord("A") if len(letter) == 1 and letter.isascii() else n_choices
    if 0 <= index < n_choices:
        return Parsed(index)
    return Parsed(None, f"{letter} is not among the {n_choices} options")


def _exactly_one(pattern: re.Pattern[str], text: str, n_choices: int) -> Parsed:
    found = pattern.findall(text)
    if len(found) == 1:
        return _among_options(found[0], n_choices)
    return Parsed(None, f"'The answer is X.' {len(found)} times")


def _or_guess(parsed: Parsed, n_choices: int, seed: str) -> Parsed:
    if parsed.prediction is not None:
        return parsed
    return Parsed(random.Random(seed).randrange(n_choices), parsed.reason)
