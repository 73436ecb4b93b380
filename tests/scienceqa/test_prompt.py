"""The template against texts written out by hand and against the original's own steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.scienceqa.prompt import LETTER_ANSWER_PREFIX, letter_answer, prompt_text, text_answer

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30)


def original_template(question: str, hint: str, choices: list[str]) -> str:
    """QCM-A's prompt, step by step as lupantech/ScienceQA's models/base_prompt.py describes it."""
    context = hint.strip() if hint.strip() else "N/A"
    listed = []
    for position, choice in enumerate(choices):
        listed.append("(" + chr(ord("A") + position) + ") " + choice)
    lines = ["Question: " + question, "Context: " + context, "Options: " + " ".join(listed), "Answer:"]
    return "\n".join(lines).replace("  ", " ").strip()


def test_letter_prompt():
    assert prompt_text("Which is  solid?", "Look.", ["water", "a rock"]) == (
        "Question: Which is solid?\nContext: Look.\nOptions: (A) water (B) a rock\nAnswer:"
    )


def test_text_prompt_lists_the_options_without_letters():
    prompt = prompt_text("Which is solid?", "", ["water", "a  rock", "air"], answer="text")
    assert prompt == "Question: Which is solid?\nContext: N/A\nOptions: water, a rock, air\nAnswer:"
    assert text_answer("a  rock") == " a rock"


@pytest.mark.parametrize("hint", [None, "", " \n"])
def test_a_hint_that_is_empty_or_unknown_reads_not_available(hint):
    assert "\nContext: N/A\n" in prompt_text("q", hint, ["a", "b"])


@given(TEXT, TEXT, st.lists(TEXT, min_size=1, max_size=5))
def test_equals_the_original_template(question, hint, choices):
    assert prompt_text(question, hint, choices) == original_template(question, hint, choices)


def test_letter_answer():
    assert [letter_answer(i) for i in (0, 4)] == [" The answer is (A).", " The answer is (E)."]
    assert letter_answer(2).startswith(LETTER_ANSWER_PREFIX + "C")


def test_no_letter_beyond_the_fifth_option():
    with pytest.raises(ValueError, match="zip"):
        prompt_text("q", "", list("abcdef"))
    with pytest.raises(IndexError):
        letter_answer(5)
