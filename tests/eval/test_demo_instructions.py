"""The generated instructions: the same every time, none twice, all topics in every split."""

import pytest

from eval.demo.instructions import SIZES, TOPICS, demo_instructions
from mmadapter.data import load_dataset
from mmadapter.errors import UserError


def test_a_seed_gives_its_instructions_and_none_stands_twice():
    data = demo_instructions()
    assert demo_instructions() == data == load_dataset("demo-instructions")
    assert demo_instructions(1).problems != data.problems
    asked = [(problem.question, problem.hint) for problem in data]
    assert len(set(asked)) == len(asked) >= 0.95 * sum(SIZES.values())
    for split in SIZES:
        assert {problem.topic for problem in data[split]} == TOPICS


def test_every_answer_is_one_of_several_in_its_topic():
    """Whoever says always the same scores low."""
    test = list(demo_instructions()["test"])
    for topic in TOPICS:
        said = [problem.choices[0] for problem in test if problem.topic == topic]
        assert max(said.count(text) for text in said) <= 0.5 * len(said)


def test_a_folder_for_them_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="demo-instructions are embedded: leave --data-dir out"):
        load_dataset("demo-instructions", tmp_path)
