"""Settings are compared on questions that are neither trained on nor of the test split."""

from dataclasses import replace

from eval.choose import ALL, asked, held_out
from mmadapter.config.presets import PRESETS
from mmadapter.data import load_dataset


def test_nothing_of_the_test_split_and_nothing_that_is_trained_on_is_asked():
    data = load_dataset("demo").first(200)
    held = held_out(data, 20)
    train, test = (set(data.splits[split]) for split in ("train", "test"))
    asked_of = set(held.splits["test"])
    assert not test & set(held.problems)
    assert held.splits["val"] == ()
    assert len(asked_of & train) == 20
    assert set(held.splits["train"]) == train - asked_of
    assert asked_of - train == {problem.pid for problem in data["val"] if problem.has_image}
    assert all(problem.has_image for problem in held["test"])
    assert held_out(data, 20) == held


def test_what_is_asked_is_counted_in_every_class():
    data = held_out(load_dataset("demo").first(60), 10)
    found = asked(replace(PRESETS["tiny"], epochs=1), data)
    n = len(data["test"])
    assert len(found["right"]) == len(found["wording"]) == n
    everything, *classes = (found["classes"].pop(ALL), *found["classes"].values())
    assert everything == "1" * n
    assert [sum(digits) for digits in zip(*(map(int, one) for one in classes), strict=True)] == [1] * n
