"""The store of what enters the first adapted layer: exact, computed once, keyed by all that decides it."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.inference.activations import stored_activations
from mmadapter.inference.likelihood import adaption_of, answer_and_choice_loss, answer_loss
from mmadapter.inference.predict import predict
from mmadapter.inference.rows import length_batches, trained_row
from mmadapter.inference.tokenising import Encoder
from mmadapter.training.loop import train
from mmadapter.training.validation import validate
from tests.tiny import tiny_lm, tiny_model
from tests.training.test_loop import DATA, IMAGES, RECIPE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path))
    return tmp_path / "activations"


def questions(model):
    return Encoder(model.llm, model.form)(DATA["train"])


def rows(model, asked=None, *, choices: bool = False):
    return {question.pid: trained_row(question, choices=choices) for question in asked or questions(model)}


def computed(model) -> list[int]:
    """Tokens that pass the lowest layer from here on, a number a forward."""
    seen = []
    model.llm.layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out.shape[:2].numel()))
    return seen


@pytest.mark.parametrize("choice_loss", [0.0, 1.0])
def test_a_stored_training_is_the_plain_one(choice_loss):
    plain, stored = tiny_model(prompt_std=0.3), tiny_model(prompt_std=0.3)
    recipe = replace(RECIPE, choice_loss=choice_loss)
    train(plain, DATA, recipe, images=IMAGES, quiet=True)
    train(stored, DATA, replace(recipe, store_activations=True), images=IMAGES, quiet=True)
    for ours, theirs in zip(plain.adapter.parameters(), stored.adapter.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)  # Adam divides: padding is of another width


def test_losses_and_gradients_need_no_layer_below():
    model = tiny_model(gate=0.5)
    batch = questions(model)
    stored = stored_activations(model, rows(model), quiet=True)
    adaption = adaption_of(model, IMAGES, batch)
    expected = answer_loss(model, adaption, batch)
    seen = computed(model)
    loss = answer_loss(model, adaption, batch, stored.of(batch))
    assert seen == []
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_answers_need_no_layer_below_the_second_time(answer, cache):
    model = tiny_model(gate=0.5, form=InputFormat(answer=answer))
    asked = DATA["train"]
    plain = predict(model, asked, images=IMAGES, quiet=True)
    seen = computed(model)
    once = predict(model, asked, images=IMAGES, store_activations=True, quiet=True)
    assert sum(seen) > 0
    seen.clear()
    again = predict(model, asked, images=IMAGES, store_activations=True, quiet=True)
    assert seen == []
    pd.testing.assert_frame_equal(once, plain)
    pd.testing.assert_frame_equal(again, plain)


def test_a_stored_validation_is_the_plain_one():
    model = tiny_model(gate=0.5)
    stored = stored_activations(model, rows(model, choices=True), quiet=True)
    seen = computed(model)
    assert validate(model, IMAGES, questions(model), stored) == pytest.approx(validate(model, IMAGES, questions(model)))
    assert len(seen) == len(length_batches(questions(model)))  # of the plain one alone


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_options_need_no_layer_below(answer):
    model = tiny_model(gate=0.5, form=InputFormat(answer=answer))
    batch = questions(model)
    stored = stored_activations(model, rows(model, choices=True), quiet=True)
    adaption = adaption_of(model, IMAGES, batch)
    expected = answer_and_choice_loss(model, adaption, batch)
    seen = computed(model)
    losses = answer_and_choice_loss(model, adaption, batch, stored.of(batch))
    assert seen == []
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)


def test_computed_once_for_every_seed_and_variant(cache):
    stored_activations(tiny_model(), rows(tiny_model()), quiet=True)
    for other in (tiny_model(seed=1), tiny_model(text_only=True)):
        seen = computed(other)
        stored_activations(other, rows(other), quiet=True)
        assert seen == []
    assert len(list(cache.glob("*.bin"))) == 1


def test_other_weights_layers_or_problems_are_other_activations(cache):
    model = tiny_model()
    stored_activations(model, rows(model), quiet=True)
    stored_activations(model, rows(model, questions(model)[1:]), quiet=True)
    stored_activations(tiny_model(adapter_layers=1), rows(model), quiet=True)
    changed = tiny_model()
    changed.llm.layers[0].mlp.down_proj.weight[0, 0] += 1
    stored_activations(changed, rows(model), quiet=True)
    stored_activations(model, rows(model, choices=True), quiet=True)
    assert len(list(cache.glob("*.bin"))) == 5


def test_in_the_models_own_precision():
    llm = tiny_lm()
    llm.model.to(torch.bfloat16)
    model = type(tiny_model()).build(llm, None, adapter_layers=1)
    assert stored_activations(model, rows(model), quiet=True).of(questions(model)).dtype == torch.bfloat16


def test_nothing_to_store_where_every_layer_is_adapted():
    model = tiny_model(adapter_layers=3)
    with pytest.raises(UserError, match="all layers are adapted"):
        stored_activations(model, rows(model), quiet=True)


def test_a_full_disk_is_told_before_the_work(monkeypatch, cache):
    model = tiny_model()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match=r"the activations take 0\.00 GB, 0\.00 GB are free"):
        stored_activations(model, rows(model), quiet=True)
    assert not list(cache.glob("*.bin*"))
