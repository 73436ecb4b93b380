"""What must not change a result: the batch size, the order of questions and of files on disk, the number of workers."""

import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmadapter.backbone.device import use_deterministic_algorithms
from mmadapter.config.settings import InputFormat, Recipe
from mmadapter.data import load_dataset
from mmadapter.inference import predict as predict_module
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.predict import predict
from mmadapter.inference.rows import length_batches
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.training.loop import train
from tests.tiny import FEATURE_SIZES, tiny_model
from tests.trained_runs import write_backbones, write_colours


def questions(count: int) -> Dataset:
    rng = random.Random(0)
    words = ("magnet", "force", "solid", "liquid", "river", "desert", "comma", "noun", "orbit", "enzyme")
    problems = {}
    for pid in map(str, range(count)):
        choices = tuple(" ".join(rng.sample(words, rng.randint(1, 3))) for _ in range(rng.randint(2, 5)))
        hint = " ".join(rng.choices(words, k=rng.choice((0, 3, 30))))
        problems[pid] = Problem(pid=pid, split="test", question=f"Which {pid}?", choices=choices, answer=0, hint=hint)
    return Dataset("made up", problems, {"test": tuple(problems)})["test"]


DATA = questions(40)
IMAGES = QuestionImages(
    torch.randn(20, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(4)), {str(2 * n): n for n in range(20)}
)


@pytest.fixture(scope="module", params=["letter", "text"])
def model(request):
    return tiny_model(gate=0.5, form=InputFormat(answer=request.param))


def answers(model, asked: Dataset, scoring: str, max_tokens: int) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_module, "length_batches", partial(length_batches, max_tokens=max_tokens))
        return predict(model, asked, scoring=scoring, images=IMAGES, quiet=True).set_index("pid")


@pytest.fixture(scope="module")
def expected(model) -> pd.DataFrame:
    return answers(model, DATA, "likelihood", 8192)


@settings(max_examples=10, deadline=None)
@given(max_tokens=st.integers(1, 4000), seed=st.integers(0, 999))
def test_batch_size_and_order_of_the_questions_change_no_prediction(model, expected, max_tokens, seed):
    order = random.Random(seed).sample(list(DATA.problems), len(DATA))
    shuffled = replace(DATA, problems={pid: DATA.problems[pid] for pid in order})
    found = answers(model, shuffled, "likelihood", max_tokens)
    assert list(found.index) == order
    found = found.loc[expected.index]
    pd.testing.assert_series_equal(found["prediction"], expected["prediction"])
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)  # sums in float32


def test_batch_size_changes_no_generated_text():
    model, asked = tiny_model(gate=0.5), DATA.first(6)
    together, alone = (answers(model, asked, "generate", max_tokens) for max_tokens in (8192, 1))
    pd.testing.assert_frame_equal(together, alone)


def test_neither_the_order_of_files_nor_the_number_of_workers_changes_a_bit(tmp_path, monkeypatch):
    folder = write_colours(tmp_path / "data")
    _, clip = write_backbones(tmp_path)
    from mmadapter.vision.towers import load_tower

    def read(cache: str) -> tuple[Dataset, torch.Tensor]:
        monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / cache))
        data = load_dataset("scienceqa", folder)
        images, data = question_images(load_tower(str(clip), scales=2), data, InputFormat(), quiet=True)
        return data, images.of(list(data.problems))[0]

    data, expected = read("one")
    listed = {name: getattr(Path, name) for name in ("glob", "rglob", "iterdir")}
    for name, function in listed.items():
        reverse = lambda *args, function=function, **rest: reversed(sorted(function(*args, **rest)))  # noqa: E731
        monkeypatch.setattr(Path, name, reverse)
    for workers in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda workers=workers: workers)
        again, features = read(f"with {workers}")
        assert again.problems == data.problems
        assert again.splits == data.splits
        assert torch.equal(features, expected)


def test_with_deterministic_everything_runs_and_nothing_changes_on_a_processor():
    data = Dataset("made up", DATA.problems, {"train": tuple(DATA.problems)})
    recipe = Recipe(epochs=1, batch_size=8, warmup_epochs=0.0)

    def trained() -> dict[str, torch.Tensor]:
        model = tiny_model(prompt_std=0.3)
        train(model, data, recipe, images=IMAGES, quiet=True)
        answers = predict(model, DATA, images=IMAGES, quiet=True)
        return {**model.adapter.state_dict(), "answers": torch.tensor(answers["prediction"].tolist())}

    expected = trained()
    try:
        use_deterministic_algorithms()
        assert torch.are_deterministic_algorithms_enabled()
        found = trained()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
