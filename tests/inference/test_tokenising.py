"""Prompts and answers as tokens: nothing of an answer is ever lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.inference.tokenising import Encoder
from mmadapter.scienceqa.problems import Problem
from mmadapter.scienceqa.prompt import letter_answer, prompt_text, text_answer
from tests.tiny import tiny_lm

LLM = tiny_lm()


def problem(hint: str = "", **changes) -> Problem:
    return Problem(
        **{
            "pid": "7",
            "split": "train",
            "question": "Which is hot?",
            "choices": ("ice", "fire"),
            "answer": 1,
            "hint": hint,
            **changes,
        }
    )


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_prompt_and_target_spell_the_template_and_the_answer(answer):
    (question,) = Encoder(LLM, InputFormat(answer=answer))([problem("It burns.")])
    decode = LLM.tokenizer.decode
    assert decode(question.prompt) == prompt_text("Which is hot?", "It burns.", ("ice", "fire"), answer=answer)
    assert decode(question.target) == (letter_answer(1) if answer == "letter" else text_answer("fire")) + "</s>"
    spelled = [decode(option) for option in question.options]
    assert spelled == ([" The answer is (A", " The answer is (B"] if answer == "letter" else [" ice</s>", " fire</s>"])
    assert not question.truncated


@settings(max_examples=50, deadline=None)
@given(hint=st.text(min_size=0, max_size=600), answer=st.sampled_from(["letter", "text"]))
def test_a_long_prompt_loses_the_middle_of_its_hint_and_nothing_else(hint, answer):
    form = InputFormat(answer=answer, max_tokens=160)
    (question,) = Encoder(LLM, form)([problem(hint)])
    (short,) = Encoder(LLM, form)([problem("")])
    assert question.target == short.target
    assert question.options == short.options
    assert len(question.prompt) + max(map(len, question.options)) <= 160
    text = LLM.tokenizer.decode(question.prompt)
    assert text.startswith("Question: Which is hot?\nContext: ")
    assert text.endswith("Answer:")
    if question.truncated:
        assert "..." in text


def test_the_middle_is_what_goes():
    hint = " ".join(f"word{number}" for number in range(60))
    (question,) = Encoder(LLM, InputFormat(max_tokens=160))([problem(hint)])
    text = LLM.tokenizer.decode(question.prompt)
    assert question.truncated
    assert "Context: word0 word1" in text
    assert "word59\nOptions" in text
    assert "word30" not in text


def test_a_question_that_does_not_fit_without_its_hint_is_named():
    with pytest.raises(UserError, match="problem 7: question and options do not fit into 40 tokens"):
        Encoder(LLM, InputFormat(max_tokens=40))([problem("long " * 50)])


def test_a_tokenizer_that_adds_an_opening_token_gets_one():
    from tokenizers.processors import TemplateProcessing

    llm = tiny_lm()
    bos = llm.tokenizer.bos_token_id
    llm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    (question,) = Encoder(llm, InputFormat())([problem()])
    assert question.prompt[0] == bos
    assert bos not in question.prompt[1:] + question.target
    (without,) = Encoder(LLM, InputFormat())([problem()])
    assert question.prompt[1:] == without.prompt


def test_what_was_encoded_once_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path))
    llm, problems = tiny_lm(), [problem("It burns."), problem(pid="8")]
    first = Encoder(llm, InputFormat(answer="text"))(problems)
    monkeypatch.setattr(Encoder, "_encode", lambda *_: pytest.fail("encoded again"))
    assert Encoder(llm, InputFormat(answer="text"))(problems) == first
    monkeypatch.undo()
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path))
    for others in ({"answer": "letter"}, {"answer": "text", "max_tokens": 500}):
        Encoder(llm, InputFormat(**others))(problems)
    Encoder(llm, InputFormat(answer="text"))(problems[1:])
    files = list((tmp_path / "tokens").glob("*.parquet"))
    assert len(files) == 4
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])  # damaged: made again
    assert Encoder(llm, InputFormat(answer="text"))(problems) == first


def test_an_instruction_that_is_too_long_loses_the_middle_of_its_input_and_nothing_of_its_response():
    form = InputFormat(answer="response", max_tokens=420)
    response = "first\n    second"
    given = problem(" ".join(f"word{n}" for n in range(60)), question="Sort.", choices=(response,), answer=0)
    (encoded,) = Encoder(LLM, form)([given])
    text = LLM.tokenizer.decode(encoded.prompt)
    assert encoded.truncated
    assert len(encoded.prompt) + len(encoded.target) <= 420
    assert text.startswith("Below is an instruction")
    assert "### Input:\nword0 word1" in text
    assert "word59\n\n### Response:" in text
    assert "word30" not in text
    assert LLM.tokenizer.decode(encoded.target) == f" {response}</s>"
    assert encoded.options == [encoded.target]
    long = replace(given, choices=("x" * 400,))
    with pytest.raises(UserError, match=r"problem 7: .* do not fit into 420 tokens even without"):
        Encoder(LLM, form)([long])
