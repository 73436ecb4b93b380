"""Wordings, and the classes of questions that follow from them and from training."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.evaluation.accuracy import accuracy_by_class
from mmadapter.evaluation.wordings import (
    NEVER,
    OFTEN,
    PICTURE_NEW,
    PICTURE_SEEN,
    SELDOM,
    asked_classes,
    cluster_ids,
    option_count_classes,
    option_length_classes,
    picture_classes,
    skill_classes,
    times_asked,
    wordings,
)


def frame(questions, **columns):
    index = pd.Index([str(i) for i in range(len(questions))], dtype="string", name="pid")
    given = {name: pd.Series(values, index=index) for name, values in columns.items()}
    return pd.DataFrame({"question": pd.array(questions, dtype="string"), **given}, index=index)


def members(classes):
    return {name: list(mask.index[mask.fillna(False)]) for name, mask in classes.items()}


def test_white_space_is_one_space_and_nothing_else_changes():
    asked = frame(["Which one?", " Which  one?\n", "which one?", "Which one", "Which\u00a0one?"])
    assert list(wordings(asked)) == ["Which one?", "Which one?", "which one?", "Which one", "Which one?"]
    assert list(cluster_ids(asked)) == [0, 0, 1, 2, 0]
    assert cluster_ids(asked).name == "wording"


@given(st.lists(st.sampled_from(["a b", "a  b", "c", " c", "d"]), min_size=1, max_size=17))
def test_one_cluster_a_wording(questions):
    asked = frame(questions)
    ids, told = cluster_ids(asked), wordings(asked)
    assert ids.nunique() == told.nunique() == ids.max() + 1
    assert told.groupby(ids).nunique().eq(1).all()


def test_how_often_training_asks():
    train = frame(["a"] * 10 + ["b "] * 11 + ["c"])
    asked = frame(["a", "b", "c", "d"])
    assert list(times_asked(asked, train)) == [10, 11, 1, 0]
    assert members(asked_classes(asked, train)) == {NEVER: ["3"], SELDOM: ["0", "2"], OFTEN: ["1"]}


def test_pictures_seen():
    train = frame(["a", "b"], has_image=[True, False]).set_axis(["t0", "t1"])
    asked = frame(["a"] * 4, has_image=[True, True, False, True])
    known = {"t0": "x", "0": "x", "1": "y"}
    classes = picture_classes(asked, known, train)
    assert members(classes) == {PICTURE_SEEN: ["0"], PICTURE_NEW: ["1"]}
    assert [list(mask.isna()) for mask in classes.values()] == [[False, False, False, True]] * 2


def test_a_training_picture_that_is_missing_makes_the_others_unknown():
    train = frame(["a", "b"], has_image=[True, True]).set_axis(["t0", "t1"])
    asked = frame(["a"] * 2, has_image=[True, True])
    classes = picture_classes(asked, {"t0": "x", "0": "x", "1": "y"}, train)
    assert members(classes) == {PICTURE_SEEN: ["0"], PICTURE_NEW: []}
    assert list(classes[PICTURE_NEW].isna()) == [False, True]


def test_options_by_length_and_number():
    choices = [["a", "b"], ["a", "b c d"], ["a b c d", "e", "f"], ["a", "b c"]]
    asked = frame(["q"] * 4, choices=choices, n_choices=pd.array([2, 2, 3, 2], dtype="Int64"))
    lengths = members(option_length_classes(asked))
    assert list(lengths.values()) == [["0"], ["1", "3"], ["2"]]
    assert members(option_count_classes(asked)) == {"2 options": ["0", "1", "3"], "3 options": ["2"]}


def test_skills_that_are_unknown_may_be_any():
    asked = frame(["q"] * 4, skill=pd.array(["s", "t", None, "s"], dtype="string"))
    classes = skill_classes(asked)
    assert members(classes) == {"skill: s": ["0", "3"], "skill: t": ["1"]}
    assert classes["skill: t"].isna().sum() == 1
    assert list(skill_classes(asked, least=2)) == ["skill: s"]


@pytest.mark.parametrize("classes", [asked_classes, lambda f, t: option_length_classes(f)])
def test_accuracy_by_class_takes_them_and_they_part_the_questions(classes, asked):
    scored = asked.assign(correct=pd.array([True] * len(asked), dtype="boolean"))
    scores = accuracy_by_class(scored, classes(asked, asked))
    assert scores["n"].sum() == len(asked)
    assert (scores.loc[scores["n"] > 0, "accuracy"] == 100).all()
