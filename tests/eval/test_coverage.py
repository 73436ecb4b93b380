"""The record of how often intervals hold the truth, and the simulation behind it."""

import json

import numpy as np
import pytest

from eval.coverage import FILE, METHODS, SHAPES, Settings, World, cell, experiment, recorded_shapes


@pytest.fixture(scope="module")
def record():
    return json.loads(FILE.read_text(encoding="utf-8"))


def covered(record, method, classes, seeds=None):
    return [
        each[measure][method]["covered"]
        for each in record["coverage"]
        if each["class"] in classes and (seeds is None or each["seeds"] == seeds)
        for measure in ("accuracy", "difference")
    ]


def test_the_default_method_holds_what_it_promises(record):
    """Nominal 95: never below 93 anywhere, and in the classes of the table 93 to 97 on average."""
    assert min(covered(record, "cluster-t", SHAPES)) >= 93
    for shape in SHAPES[:3]:
        assert 94 <= np.mean(covered(record, "cluster-t", [shape])) <= 97


def test_single_questions_promise_too_much(record):
    assert max(covered(record, "questions", SHAPES[:2])) < 80


def test_a_record_of_the_same_sizes(record):
    shapes = {shape: (len(sizes), int(sizes.sum())) for shape, sizes in recorded_shapes().items()}
    assert tuple(shapes) == SHAPES
    for each in record["coverage"]:
        assert (each["clusters"], each["questions"]) == shapes[each["class"]]
    assert tuple(record["world"]["levels"]) == World().levels


@pytest.mark.parametrize("drawn", [False, True])
def test_the_truth_is_the_mean_of_many_experiments(drawn):
    """Of other seeds and other wordings each time."""
    rng, sizes = np.random.default_rng(0), np.repeat([1, 2, 5], 200)
    runs = [experiment(rng, sizes, drawn, seeds=3) for _ in range(200)]
    accuracy = [100 * credit[0].mean() for _, credit, _ in runs]
    difference = [100 * (credit[0] - credit[1]).mean() for _, credit, _ in runs]
    truth = runs[0][2]
    for measured, expected in ((accuracy, truth[0]), (difference, truth[1])):
        assert np.mean(measured) == pytest.approx(expected, abs=4 * np.std(measured) / len(measured) ** 0.5)


def test_a_cell(record):
    found = cell(SHAPES[3], recorded_shapes()[SHAPES[3]], False, 3, Settings(repeats=20, samples=50))
    assert set(found["accuracy"]) == set(METHODS)
    assert all(0 <= each["covered"] <= 100 and each["width"] > 0 for each in found["difference"].values())
