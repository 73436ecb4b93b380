"""Other conditions are the same questions, and what is counted over them is what stands in the records."""

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmadapter.controls.asking import control_answers
from mmadapter.controls.interventions import White, derangement, rotated, shuffled, shuffled_within, turned_back
from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, question_classes, value_classes
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.grid import DASH, format_grid
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.evaluation.reliance import (
    CONDITIONS,
    RELIANCE_COLUMNS,
    controls_grids,
    controls_record,
    count_controls,
    image_reliance,
    option_order,
)
from mmadapter.evaluation.verdicts import compare_frames
from mmadapter.evaluation.wordings import cluster_ids
from mmadapter.inference.predict import predict
from tests.tiny import tiny_model


class Bytes:
    """A picture of given bytes."""

    def __init__(self, content: bytes):
        self.where, self.content = "a test's picture", content

    def read(self) -> bytes:
        return self.content


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 3))
def test_derangement_gives_nobody_his_own(contents, seed):
    if 2 * max(Counter(contents).values()) > len(contents):
        with pytest.raises(UserError, match="cannot be shuffled"):
            derangement(contents, seed)
        return
    taken = derangement(contents, seed)
    assert sorted(taken) == list(range(len(contents)))
    assert not [item for item, other in enumerate(taken) if contents[item] == contents[other]]
    assert taken == derangement(contents, seed)


def test_derangement_depends_on_its_seed():
    assert len({tuple(derangement(range(30), seed)) for seed in range(5)}) == 5


def test_shuffled_images_differ_in_content_and_none_is_lost():
    images = {str(i): Bytes(bytes([i // 3])) for i in range(12)}  # each content three times
    others = shuffled(images, seed=1)
    assert not [pid for pid in images if others[pid].read() == images[pid].read()]
    assert Counter(id(image) for image in others.values()) == Counter(id(image) for image in images.values())
    with pytest.raises(UserError, match="3 of the 5 questions with an image have the same one"):
        shuffled({str(i): Bytes(b"same" if i < 3 else bytes([i])) for i in range(5)}, seed=1)


def test_an_image_of_the_same_words_is_another_one():
    images = {str(i): Bytes(content) for i, content in enumerate([b"a", b"b", b"b", b"c", b"d", b"e", b"e"])}
    words = {"0": "x", "1": "x", "2": "x", "3": "y", "4": "x", "5": "z", "6": "z"}
    found = shuffled_within(images, words, seed=0)
    assert set(found) == {"0", "1", "2", "4"}  # 3 is alone, 5 and 6 have the same picture
    for pid, image in found.items():
        assert image.read() != images[pid].read()
        assert image.read() in {images[other].read() for other in images if words[other] == words[pid]}
    assert found == shuffled_within(images, words, seed=0)


def test_the_blank_image_is_white():
    with Image.open(io.BytesIO(White().read())) as image:
        assert image.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_an_answer_follows_its_option_through_every_rotation(turn, data):
    test = data["test"]
    turned = rotated(test, turn)
    assert turned.problems.keys() == {p.pid for p in test if len(p.choices) > turn}
    for problem in turned:
        before = test.problems[problem.pid]
        assert problem.choices[problem.answer] == before.choices[before.answer]
        assert problem.choices[0] == before.choices[turn]
        assert replace(problem, choices=before.choices, answer=before.answer) == before
    rng = np.random.default_rng(0)
    probabilities = {p.pid: rng.dirichlet(np.ones(len(p.choices))).tolist() for p in turned}
    answers = predictions_frame(
        [p.pid for p in turned],
        prediction=[int(np.argmax(probabilities[p.pid])) for p in turned],
        probabilities=list(probabilities.values()),
    )
    back = turned_back(answers, turned, turn)
    for row in back.itertuples():
        new, old = turned.problems[row.pid], test.problems[row.pid]
        by_text = dict(zip(new.choices, probabilities[row.pid], strict=True))
        assert [by_text[choice] for choice in old.choices] == row.probabilities
        assert old.choices[row.prediction] == max(by_text, key=by_text.get)
    unparsed = predictions_frame([p.pid for p in turned])
    assert turned_back(unparsed, turned, turn)["prediction"].isna().all()


@pytest.fixture(scope="module")
def records(data):
    """Invented answers: mostly right with the true image, at random with the others, and in any order."""
    rng = np.random.default_rng(3)
    rows = []
    for problem in data["test"]:
        n = len(problem.choices)
        answers = {f"rotation {turn}": int(rng.integers(n)) if rng.random() < 0.4 else 0 for turn in range(n)}
        if problem.image:
            answers |= {c: int(rng.integers(n)) for c in CONDITIONS}
            answers["true"] = problem.answer if rng.random() < 0.9 else answers["true"]
        rows += [(condition, problem.pid, said, None) for condition, said in answers.items()]
    frame = pd.DataFrame(rows, columns=["condition", "pid", "prediction", "probabilities"])
    frame.loc[frame.sample(frac=0.05, random_state=0).index, "prediction"] = None
    return frame.astype({"condition": "string", "pid": "string", "prediction": "Int64"})


def said(records, condition):
    of = records[records["condition"] == condition]
    return {pid: None if pd.isna(p) else int(p) for pid, p in zip(of["pid"], of["prediction"], strict=True)}


def test_look_counts_what_the_records_say(records, data, asked):
    table = image_reliance(records, asked).set_index(["question_class", "condition"])
    assert set(table.index.get_level_values(0)) == {*RELIANCE_COLUMNS}
    problems, true = data["test"].problems, said(records, "true")
    members = {name: [pid for pid in true if mask[pid]] for name, mask in question_classes(asked).items()}
    for name in RELIANCE_COLUMNS:
        for condition in CONDITIONS:
            row, answers, pids = table.loc[name, condition], said(records, condition), members[name]
            right = [answers[pid] == problems[pid].answer for pid in pids]
            assert (row["n"], row["correct"]) == (len(pids), sum(right))
            assert row["accuracy"] == pytest.approx(100 * np.mean(right))
            assert row["low"] <= row["accuracy"] <= row["high"]
            if condition == "true":
                assert pd.isna(row["p"])
                continue
            truth = [true[pid] == problems[pid].answer for pid in pids]
            assert row["changed"] == sum(answers[pid] != true[pid] for pid in pids)
            assert row["only_true"] == sum(t and not r for t, r in zip(truth, right, strict=True))
            assert row["only_this"] == sum(r and not t for t, r in zip(truth, right, strict=True))
            assert row["difference"] == pytest.approx(100 * (np.mean(right) - np.mean(truth)))
            assert 0 <= row["p"] <= 1


def test_look_tests_as_compare_does(records, asked):
    pictured = asked[asked["has_image"]]
    frames = {
        name: pictured.assign(
            correct=[said(records, name)[pid] == answer for pid, answer in pictured["answer"].items()]
        )
        for name in ("true", "blank")
    }
    classes = value_classes(pictured["category"])
    expected = compare_frames(frames["blank"], frames["true"], cluster_ids(pictured), classes)
    table = image_reliance(records, asked, by="category").query("condition == 'blank'").set_index("question_class")
    assert table.index.tolist() == ["Magnets", "Maps"]
    for column in ("difference", "p", "p_holm"):
        assert table[column].tolist() == expected[column].tolist()


def test_by_a_column_the_unknown_is_left_out(records, asked):
    some = asked.assign(category=asked["category"].mask(asked["grade"] < 4))
    table = image_reliance(records, some, by="category")
    pictured = some[some["has_image"]]
    assert table.query("condition == 'true'")["n"].tolist() == [
        (pictured["category"] == category).sum() for category in ("Magnets", "Maps")
    ]


def test_option_order_counts_what_the_records_say(records, data, asked):
    table = option_order(records, asked)
    assert tuple(table.index) == TABLE_COLUMNS
    problems = data["test"].problems
    turns = {turn: said(records, f"rotation {turn}") for turn in range(5)}
    for name, mask in question_classes(asked).items():
        pids = [pid for pid in problems if mask[pid]]
        right, option, place = [], [], []
        for pid in pids:
            n, first = len(problems[pid].choices), turns[0][pid]
            right.append([turns[turn][pid] == problems[pid].answer for turn in range(n)])
            for turn in range(1, n):
                now = turns[turn][pid]
                option.append(first is not None and now == first)
                place.append(first is not None and now is not None and (now - turn) % n == first)
        row = table.loc[name]
        assert row["n"] == len(pids)
        assert row["as_asked"] == pytest.approx(100 * np.mean([each[0] for each in right]))
        assert row["mean"] == pytest.approx(100 * np.mean([np.mean(each) for each in right]))
        assert row["always"] == pytest.approx(100 * np.mean([all(each) for each in right]))
        assert row["turned"] == len(option)
        assert row["same_option"] == pytest.approx(100 * np.mean(option))
        assert row["same_letter"] == pytest.approx(100 * np.mean(place))


def test_a_model_that_always_says_b(data, asked):
    """It stays with its letter, and over all orders it is right as often as chance."""
    rows = []
    for problem in data["test"]:
        n = len(problem.choices)
        rows += [(f"rotation {turn}", problem.pid, (1 + turn) % n, None) for turn in range(n)]
    frame = pd.DataFrame(rows, columns=["condition", "pid", "prediction", "probabilities"])
    table = option_order(frame.astype({"condition": "string", "prediction": "Int64"}), asked)
    assert table.loc["Avg", ["always", "same_option", "same_letter"]].tolist() == [0, 0, 100]
    assert table.loc["Avg", "mean"] == pytest.approx(100 * np.mean([1 / len(p.choices) for p in data["test"]]))


def test_nothing_is_computed_over_the_unknown(records, asked):
    half = asked.assign(grade=asked["grade"].where(asked["has_text"]))
    controls = count_controls("model", records, half)
    assert not {"G1-6", "G7-12"} & set(controls.images["question_class"])
    assert controls.order.loc[["G1-6", "G7-12"]].isna().all(axis=None)
    for grid in controls_grids(controls):
        for form in ("table", "markdown", "latex"):
            text = format_grid(grid, form)
            assert "nan" not in text.lower()
            assert (DASH if form != "latex" else "--") in text
    record = controls_record(controls)
    assert record["order"][TABLE_COLUMNS.index("G1-6")]["mean"] is None
    assert {row["p"] for row in record["images"] if row["condition"] == "true"} == {None}


def test_without_any_image_only_the_options_are_turned(records, asked):
    controls = count_controls("model", records[records["condition"].str.startswith("rotation")], asked)
    assert controls.images.empty
    assert len(controls_grids(controls)) == 1


def test_a_text_only_model_does_not_change_by_one_bit(data):
    """All conditions are asked in the same batches, so not even rounding can tell them apart."""
    torch.set_num_threads(1)
    model = tiny_model(text_only=True, gate=0.5)
    test = data["test"].first(30)
    shown = replace(
        test,
        problems={
            p.pid: replace(p, question=f"Which is {int(p.pid) % 2}?", image=p.image and Bytes(p.pid.encode()))
            for p in test
        },
    )
    answers = predict(model, shown, quiet=True)
    records = control_answers(model, shown, answers, quiet=True)
    conditions = {
        name: records[records["condition"] == name].drop(columns="condition").reset_index(drop=True)
        for name in CONDITIONS
    }
    assert conditions["true"]["pid"].tolist() == [p.pid for p in test if p.image]
    for name in CONDITIONS:
        pd.testing.assert_frame_equal(conditions[name], conditions["true"], check_exact=True)
    assert (image_reliance(records, question_frame(shown))["changed"].dropna() == 0).all()
    turned = {p.pid: len(p.choices) for p in test}
    assert Counter(records[records["condition"].str.startswith("rotation")]["pid"]) == turned
