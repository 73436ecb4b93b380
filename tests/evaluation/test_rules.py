"""Every rule against what its original does with the same text."""

import time
from collections import Counter
from typing import get_args

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.errors import UserError
from mmadapter.evaluation.rules import RULES, RuleName, parse_outputs, random_credit

GUESS = "guess"
WRONG = None
CASES = [  # text, options, strict, official, llava, lavin, mmcot, lmms-eval
    ("The answer is B.", 3, 1, 1, 1, 1, GUESS, WRONG),
    ("The answer is (B).", 3, 1, GUESS, WRONG, GUESS, 1, WRONG),
    ("the answer is (B)", 3, 1, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("The answer is B", 3, 1, GUESS, WRONG, GUESS, GUESS, WRONG),  # the official pattern wants one character more
    (" The answer is B. \n", 3, 1, 1, 1, 1, GUESS, WRONG),
    ("The answer is A. The answer is B.", 3, WRONG, GUESS, WRONG, 0, GUESS, WRONG),
    ("The answer is B. The answer is B.", 3, 1, GUESS, WRONG, 1, GUESS, WRONG),
    ("The answer is D.", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("The answer is (D)", 3, WRONG, GUESS, WRONG, GUESS, WRONG, WRONG),  # kept, and wrong
    ("The answer is (Z)", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("The answer is Because.", 5, WRONG, 1, 1, 1, GUESS, WRONG),  # any character after the letter
    ("(B) is right, (A) is not", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("The dominant allele is (B). The answer is A.", 3, 0, 0, 0, 0, GUESS, WRONG),  # a statement outranks a mention
    ("(B) or (A)? The answer is (C).", 3, 2, GUESS, WRONG, GUESS, 2, WRONG),
    ("B", 3, 1, GUESS, 1, GUESS, GUESS, 1),
    ("b", 3, WRONG, GUESS, WRONG, GUESS, GUESS, 1),
    ("D", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("B. a rock", 3, 1, GUESS, 1, GUESS, GUESS, 1),
    ("B.", 3, 1, GUESS, WRONG, GUESS, GUESS, 1),
    ("B) a rock", 3, 1, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("ABCDE", 5, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("A dog and a cat", 5, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
    ("\N{FULLWIDTH LATIN CAPITAL LETTER B}", 3, WRONG, GUESS, WRONG, GUESS, GUESS, WRONG),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case[0]))
def test_rule_reads_as_its_original(rule, case):
    text, n_choices, *expected = case
    wanted = dict(zip(RULES, expected, strict=True))[rule]
    prediction, reason = RULES[rule](text, n_choices, "7")
    assert (reason is None) == isinstance(wanted, int)
    if wanted == GUESS:
        assert prediction in {*range(n_choices), None if rule == "mmcot" else 0}
    else:
        assert prediction == wanted


@pytest.mark.parametrize("rule", RULES)
@given(text=st.text(alphabet=st.sampled_from("ABCDEFZ(). \nthe answer isT")), n_choices=st.integers(1, 5))
def test_a_prediction_is_an_option_and_no_prediction_has_a_reason(rule, text, n_choices):
    prediction, reason = RULES[rule](text, n_choices, "1")
    assert prediction is None or 0 <= prediction < n_choices
    assert prediction is not None or reason


@pytest.mark.parametrize(("rule", "letters"), [("official", 3), ("lavin", 3), ("mmcot", 5)])
def test_guesses_are_uniform_over_their_letters(rule, letters):
    guesses = Counter(RULES[rule]("no idea", 3, str(pid)).prediction for pid in range(6000))
    for option in range(3):
        assert guesses[option] == pytest.approx(6000 / letters, abs=150)  # four standard deviations
    assert guesses[None] == pytest.approx(6000 * (letters - 3) / letters, abs=150)


def test_a_guess_depends_on_the_question_alone():
    outputs = pd.Series("", index=[str(pid) for pid in range(50)])
    sizes = pd.Series(4, index=outputs.index)
    forth = parse_outputs(outputs, sizes, "official")["prediction"]
    back = parse_outputs(outputs[::-1][:20], sizes, "official")["prediction"]
    assert forth.nunique() == 4
    pd.testing.assert_series_equal(back, forth.loc[back.index])


def test_parse_outputs_types_and_reasons():
    outputs = pd.Series(["(B)", "who knows"], index=["4", "5"])
    parsed = parse_outputs(outputs, pd.Series([3, 2, 9], index=["5", "4", "6"]), "strict")
    assert parsed["prediction"].dtype == "Int64"
    assert parsed["prediction"].tolist() == [1, pd.NA]
    assert parsed["unparsed"].tolist() == [pd.NA, "no letter"]


def test_unknown_rule():
    with pytest.raises(UserError, match="no such rule: 'gpt'"):
        parse_outputs(pd.Series(dtype="string"), pd.Series(dtype="Int64"), "gpt")


def test_random_credit_is_what_guessing_adds_on_average():
    unparsed = pd.Series([True, False, True, False, True])
    sizes = pd.Series([2, 2, 4, 5, 1])
    assert random_credit(unparsed, sizes) == pytest.approx(100 * (1 / 2 + 1 / 4 + 1) / 5)
    asked = [(str(pid), n) for pid in range(400) for n in (2, 5)]
    right = [RULES["official"]("", n, f"{pid} {n}").prediction == 1 for pid, n in asked]
    expected = random_credit(pd.Series(True, index=range(800)), pd.Series([n for _, n in asked]))
    assert 100 * sum(right) / 800 == pytest.approx(expected, abs=6)


def test_the_names_are_those_of_the_rules():
    assert get_args(RuleName) == tuple(RULES)


LONG = 1_000_000
HOSTILE = {  # each begins, again and again, what some rule looks for
    "stated": "The answer is " * (LONG // 14),
    "stated, colon": "The answer is:" + " " * LONG,
    "stated, bracket": "The answer is (" * (LONG // 15),
    "spaces": " " * LONG,
    "letter and spaces": "A" + " " * LONG + "?",
    "brackets": "(" * LONG,
    "letters": "(A) B. " * (LONG // 7),
    "capitals": "A" * LONG,
    "lines": "\n" * LONG,
    "unknown": "\N{COMBINING ACUTE ACCENT}" * LONG,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("rule", RULES)
def test_the_time_of_a_rule_grows_with_the_length_of_the_text(rule, text):
    """Milliseconds for a megabyte; one that grew with its square would take hours."""
    began = time.process_time()
    RULES[rule](text, 5, "7")
    assert time.process_time() - began < 10
