"""The linear read-out of image features, against scikit-learn's own classifier and by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.readout import PENALTIES, read_out
from mmadapter.inference.image_features import QuestionImages
from mmadapter.scienceqa.problems import Dataset, Problem

COLOURS = ("red", "green", "blue")


def problem(pid: str, split: str, words: str, choices: tuple[str, ...], answer: int) -> Problem:
    return Problem(pid=pid, split=split, question=words, choices=choices, answer=answer)


def asked(split: str, n: int, rng: np.random.Generator, words: str = "Which colour?") -> list[Problem]:
    return [
        problem(f"{split} {words} {index}", split, words, tuple(rng.permutation(COLOURS)), int(rng.integers(3)))
        for index in range(n)
    ]


def pictures(problems: list[Problem], rng: np.random.Generator, told: float) -> QuestionImages:
    """Six features, three of which tell the answer's colour to a degree."""
    answers = [COLOURS.index(p.choices[p.answer]) for p in problems]
    values = rng.standard_normal((len(problems), 6)) + told * np.eye(3, 6)[answers]
    return QuestionImages(torch.tensor(values, dtype=torch.float32), {p.pid: row for row, p in enumerate(problems)})


def dataset(*problems: Problem) -> Dataset:
    splits = {split: tuple(p.pid for p in problems if p.split == split) for split in ("train", "test")}
    return Dataset("colours", {p.pid: p for p in problems}, splits)


@pytest.mark.parametrize("told", [0.0, 1.0, 20.0])
def test_where_all_answers_are_offered_it_is_scikit_learns_ridge_classifier(told):
    rng = np.random.default_rng(0)
    train, test = asked("train", 60, rng), asked("test", 40, rng)
    images = pictures([*train, *test], rng, told)
    x, y = images.features.double().numpy(), np.array([p.choices[p.answer] for p in [*train, *test]])
    reference = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(x[:60], y[:60]).predict(x[60:])
    found = read_out(dataset(*train, *test), images)
    assert found == "".join(str(int(right)) for right in reference == y[60:])
    if told == 20.0:
        assert found == "1" * 40


def test_words_that_training_hardly_asks_and_questions_without_an_image_are_left_out():
    rng = np.random.default_rng(0)
    often, seldom = asked("train", 30, rng), asked("train", 24, rng, "Which hue?")
    test = [*asked("test", 3, rng), *asked("test", 2, rng, "Which hue?"), *asked("test", 1, rng, "Unseen?")]
    images = pictures([*often, *seldom, *test[1:]], rng, 20.0)
    assert read_out(dataset(*often, *seldom, *test), images) == "-11---"
    assert read_out(dataset(*often, *seldom, *test), images, least=24) == "-1111-"


def test_an_answer_that_training_never_had_is_not_chosen():
    rng = np.random.default_rng(0)
    train = asked("train", 30, rng)
    new = problem("new", "test", "Which colour?", ("violet", "red"), 0)
    none = problem("none", "test", "Which colour?", ("violet", "black"), 1)
    assert read_out(dataset(*train, new, none), pictures(train, rng, 20.0)) == "--"
    images = QuestionImages(
        torch.cat([pictures(train, rng, 20.0).features, torch.zeros(2, 6)]),
        {p.pid: row for row, p in enumerate([*train, new, none])},
    )
    assert read_out(dataset(*train, new, none), images) == "00"
