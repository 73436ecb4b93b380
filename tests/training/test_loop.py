"""Training: everything that should move moves, the rest does not, and a resume is no other run."""

import itertools
import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from mmadapter.config.settings import InputFormat, Recipe
from mmadapter.errors import UserError
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.training import loop
from mmadapter.training.checkpoint import checkpoint_bytes
from mmadapter.training.loop import Interrupted, train
from mmadapter.training.step import adamw, learning_rate
from mmadapter.training.validation import validate
from tests.tiny import FEATURE_SIZES, tiny_model

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=1e-2, warmup_epochs=0.5)
WORDS = ("red", "blue", "green")

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


def dataset(train_size: int = 10, val_size: int = 5) -> Dataset:
    def problem(number: int, split: str) -> Problem:
        question = "Which? " + "x" * (number % 4)
        return Problem(
            pid=str(number), split=split, question=question, choices=WORDS, answer=number % 3, hint="h" * number
        )

    problems = [problem(number, "train" if number < train_size else "val") for number in range(train_size + val_size)]
    splits = {name: tuple(p.pid for p in problems if p.split == name) for name in ("train", "val")}
    return Dataset("made up", {p.pid: p for p in problems}, splits)


DATA = dataset()
IMAGES = QuestionImages(
    torch.randn(8, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(4)),
    {str(number): number for number in range(0, 8)},
)


def trained(folder=None, *, recipe: Recipe = RECIPE, components: int | None = None, **settings) -> MultimodalAdapter:
    model = tiny_model(prompt_std=0.3, components=components)
    train(model, DATA, recipe, images=IMAGES, folder=folder, quiet=True, **settings)
    return model


def same(first: MultimodalAdapter, second: MultimodalAdapter) -> bool:
    theirs = second.adapter.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in first.adapter.state_dict().items())


def test_every_adapter_weight_moves_within_two_steps_even_after_a_validation():
    """At gate 0 the prompts' gradient is exactly 0: they move from step 2 on. Validation must leave nothing behind."""
    model = tiny_model()
    questions = Encoder(model.llm, model.form)(DATA["train"])
    before = {name: parameter.detach().clone() for name, parameter in model.adapter.named_parameters()}
    frozen = {name: parameter.clone() for name, parameter in model.llm.model.named_parameters()}
    validate(model, IMAGES, questions)
    recipe = Recipe(epochs=1, batch_size=5, learning_rate=1e-2, warmup_epochs=0.0, weight_decay=0.0)
    train(model, DATA, recipe, images=IMAGES, quiet=True)
    # two steps of an epoch, then its validation, whose adapter is the best one
    unmoved = [name for name, parameter in model.adapter.named_parameters() if torch.equal(parameter, before[name])]
    assert not unmoved
    assert all(torch.equal(parameter, frozen[name]) for name, parameter in model.llm.model.named_parameters())


def test_the_loss_falls_and_the_log_tells(tmp_path):
    recipe = Recipe(epochs=12, batch_size=4, learning_rate=3e-2, warmup_epochs=1.0)
    model = tiny_model(prompt_std=0.3)
    epochs = train(model, DATA, recipe, images=IMAGES, folder=tmp_path, quiet=True)
    assert epochs[-1].train_loss < 0.85 * epochs[0].train_loss
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "epoch" not in line]
    assert [line["step"] for line in steps] == list(range(1, 12 * 3 + 1))
    assert all(math.isfinite(line["loss"]) for line in steps)
    assert [line["epoch"] for line in lines if "epoch" in line] == list(range(1, 13))
    best = max(epochs, key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    loaded = MultimodalAdapter.from_pretrained(tmp_path, llm=model.llm, tower=model.tower)
    val_set = Encoder(model.llm, model.form)(DATA["val"])
    assert validate(loaded, IMAGES, val_set) == (pytest.approx(best.val_loss), best.val_accuracy)
    written = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert 0.6 * checkpoint_bytes(model.adapter) < written < checkpoint_bytes(model.adapter)  # one more in its writing


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another():
    assert same(trained(), trained())
    assert not same(trained(), trained(recipe=Recipe(epochs=2, batch_size=4, learning_rate=1e-2, seed=1)))


@pytest.mark.parametrize("at", [2, 3, 5])
def test_interrupted_and_resumed_is_bit_identical(tmp_path, monkeypatch, at):
    """In the middle of an epoch (3 steps long), at its end, and in the last one; by a real signal."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = trained(whole)
    steps, step = [], loop.backward

    def interrupting(*arguments):
        steps.append(1)
        if len(steps) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(loop, "backward", interrupting)
    with pytest.raises(Interrupted):
        trained(parts)
    monkeypatch.undo()
    resumed = trained(parts, resume=True)
    assert same(resumed, expected)
    assert (parts / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()

    def without_clock(folder):
        lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]

    assert without_clock(parts) == without_clock(whole)


def test_a_finished_training_resumes_to_itself(tmp_path):
    first = trained(tmp_path)
    assert same(trained(tmp_path, resume=True), first)


@pytest.mark.parametrize("text_only", [False, True])
def test_the_projection_learns_at_its_share_of_the_rate(text_only):
    model = tiny_model(text_only=text_only)
    groups = adamw(model, Recipe(projection_rate=0.1)).param_groups
    shares = {id(weight): group["share"] for group in groups for weight in group["params"]}
    assert {name: shares[id(weight)] for name, weight in model.adapter.named_parameters()} == {
        name: 0.1 if name.startswith("projection.") else 1.0 for name, _ in model.adapter.named_parameters()
    }


def test_components_are_those_of_the_train_split_and_stay(tmp_path):
    model = trained(tmp_path, components=4)
    mean, axes = model.adapter.projection.whitening(IMAGES.features)  # all of them belong to the train split
    assert torch.equal(model.adapter.projection.axes, axes)
    assert torch.equal(model.adapter.projection.mean, mean)
    assert torch.equal(
        MultimodalAdapter.from_pretrained(tmp_path, llm=model.llm, tower=model.tower).adapter.projection.axes, axes
    )
    other = replace(IMAGES, features=IMAGES.features * torch.linspace(0, 1, IMAGES.features.shape[1]))
    train(model, DATA, RECIPE, images=other, quiet=True)
    assert torch.equal(model.adapter.projection.axes, axes)


@pytest.mark.parametrize("choice_loss", [0.0, 0.7])
def test_accumulated_parts_make_the_step_of_the_whole_batch(choice_loss):
    recipe = replace(RECIPE, choice_loss=choice_loss)
    whole, parts = trained(recipe=recipe), trained(recipe=replace(recipe, forward_tokens=100))
    for name, tensor in whole.adapter.state_dict().items():
        torch.testing.assert_close(parts.adapter.state_dict()[name], tensor, rtol=0, atol=2e-4)  # Adam divides noise


DAMAGES = {
    "truncated": lambda data: data[:100],
    "a bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "empty": lambda data: b"",
    "progress": lambda data: data.replace(b'\\"step\\": 6', b'\\"step\\": 5'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_from_a_damaged_checkpoint_a_training_goes_back_to_the_one_before(tmp_path, capsys, damage):
    expected = trained(tmp_path)
    file = tmp_path / CHECKPOINT
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert same(trained(tmp_path, resume=True), expected)
    assert f"{file}: this checkpoint is damaged" in capsys.readouterr().err
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]  # an epoch's own line has its last step


def test_without_any_sound_checkpoint_nothing_is_guessed(tmp_path):
    trained(tmp_path)
    for name in (CHECKPOINT, PREVIOUS):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{CHECKPOINT}: this checkpoint is damaged(.|\n)*{PREVIOUS}: this checkpoint"):
        trained(tmp_path, resume=True)


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path):
    trained(tmp_path)
    with pytest.raises(UserError, match=f"{CHECKPOINT}: cannot resume from this checkpoint"):
        train(tiny_model(adapter_len=4), DATA, RECIPE, images=IMAGES, folder=tmp_path, resume=True, quiet=True)


def test_prompts_beyond_the_limit_train_without_nan():
    """The authors' code cuts the answer off and gets NaN (their issues 59, 67, 95, 144)."""
    model = tiny_model(prompt_std=0.3, form=InputFormat(max_tokens=100))
    questions = Encoder(model.llm, model.form)(DATA["train"])
    assert any(question.truncated for question in questions)
    epochs = train(model, DATA, RECIPE, images=IMAGES, quiet=True)
    assert all(math.isfinite(epoch.train_loss) for epoch in epochs)


def test_a_loss_that_is_not_finite_stops_with_advice():
    model = tiny_model(prompt_std=0.3)
    with torch.no_grad():
        model.adapter.prompts[0, 0, 0] = math.nan
    with pytest.raises(UserError, match="no longer finite: lower --learning-rate"):
        train(model, DATA, RECIPE, images=IMAGES, quiet=True)


def test_no_training_problems():
    data = dataset(train_size=0)
    with pytest.raises(UserError, match="the train split has no problems"):
        train(tiny_model(text_only=True), data, RECIPE, quiet=True)


def test_learning_rate_warms_up_linearly_and_falls_to_zero():
    rates = [learning_rate(step, 100, 10.0, 2.0) for step in range(101)]
    assert rates[:11] == pytest.approx([2.0 * (step + 1) / 11 for step in range(11)])
    assert rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))


def test_where_nothing_is_chosen_there_is_no_accuracy_and_the_lowest_loss_is_best(tmp_path):
    """Instructions have one response: that it is the likeliest of one says nothing."""
    model = tiny_model(text_only=True, prompt_std=0.3, form=InputFormat(answer="response"))
    said = {"train": "a" * 8, "val": "b" * 8}  # what is learnt makes the other ever less likely
    one = {
        pid: replace(problem, choices=(said.get(problem.split, "c"),), answer=0)
        for pid, problem in DATA.problems.items()
    }
    data = replace(DATA, problems=one)
    recipe = Recipe(epochs=6, batch_size=4, learning_rate=0.1, warmup_epochs=0.0)
    epochs = train(model, data, recipe, folder=tmp_path, quiet=True)
    losses = [epoch.val_loss for epoch in epochs]
    assert [epoch.val_accuracy for epoch in epochs] == [None] * 6
    assert validate(model, None, Encoder(model.llm, model.form)(data["val"])) == (pytest.approx(min(losses)), None)
    assert min(losses) < losses[-1]
