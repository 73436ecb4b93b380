"""Every contender computes what its name says, so that the comparison is fair."""

import math

import numpy as np
import pytest
import torch

from benchmarks.limit import LimitTraining
from benchmarks.peers import peft_twin
from benchmarks.scorers import LETTERS_ONLY, SCORING, left_padded_scorer, score_ours
from benchmarks.trainers import TRAINING
from benchmarks.workload import Settings, adapted, backbone, images, questions, real_tokens, twin
from mmadapter.inference.likelihood import adaption_of, answer_loss, option_log_likelihoods

SETTINGS = Settings(size="tiny", vocabulary=211, adapter_layers=2, questions=11, batch=3, device="cpu", output=None)


@pytest.fixture(scope="module")
def model():
    """Weights large enough that what a token says changes the logits."""
    model = backbone(SETTINGS)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return model


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.delenv("MMADAPTER_SCIENCEQA", raising=False)
    return questions(SETTINGS)[0]


@pytest.fixture
def texts(monkeypatch):
    monkeypatch.delenv("MMADAPTER_SCIENCEQA", raising=False)
    return questions(SETTINGS, "text")[0]


def frozen_likelihoods(model, prompt, answer):
    """Of each token of an answer: one forward of one sequence, full logits, transformers' own attention."""
    with torch.no_grad():
        logits = twin(model)(torch.tensor([prompt + answer])).logits[0].double()
    rows = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
    return rows[torch.arange(len(answer)), torch.tensor(answer)]


def frozen_loss(model, asked):
    return -sum(frozen_likelihoods(model, q.prompt, q.target).sum().item() for q in asked)


def frozen_scores(model, asked):
    """Log-likelihoods of the options, from where they part."""
    scores = []
    for question in asked:
        shared = next(at for at, tokens in enumerate(zip(*question.options, strict=False)) if len(set(tokens)) > 1)
        options = [frozen_likelihoods(model, question.prompt, option)[shared:].sum() for option in question.options]
        scores.append([float(option) for option in options])
    return scores


def needs_its_package(name):
    if name.startswith("litgpt"):
        pytest.importorskip("litgpt")


PLAIN = [name for name in TRAINING if name != "mmadapter, compiled"]
"""To compile takes a minute; tests/test_backbone.py has its equality."""


@pytest.mark.parametrize("name", PLAIN)
def test_the_loss_before_any_step_is_the_frozen_models(name, model, asked):
    needs_its_package(name)
    training = TRAINING[name].build(SETTINGS, model, asked, 0.0)
    assert training.epoch() == pytest.approx(frozen_loss(model, asked), rel=1e-5)
    assert training.epoch() == pytest.approx(frozen_loss(model, asked), rel=1e-5)  # nothing is left over in between


@pytest.mark.parametrize("name", [name for name in PLAIN if not name.startswith("limit")])
def test_an_epoch_moves_every_weight_of_an_adapter_and_none_of_the_backbone(name, model, asked):
    needs_its_package(name)
    frozen = {key: weight.clone() for key, weight in model.state_dict().items()}
    training = TRAINING[name].build(SETTINGS, model, asked, 1e-2)
    before = [weight.detach().clone() for weight in training.trained]
    assert len(before) >= 2
    training.epoch()
    assert not [w.shape for w, was in zip(training.trained, before, strict=True) if torch.equal(w, was)]
    assert all(torch.equal(weight, frozen[key]) for key, weight in model.state_dict().items())


def test_no_contender_trains_on_other_sizes(model, asked):
    """K L C prompts each, and a gate a head: PEFT has one a layer."""
    prompts, layers, heads = 10 * 2 * 64, 2, 4
    sizes = {"mmadapter, text-only": prompts + layers * heads, "PEFT": prompts + layers}
    for name, size in sizes.items():
        assert sum(weight.numel() for weight in TRAINING[name].build(SETTINGS, model, asked, 0.0).trained) == size


def test_the_limits_gradient_ends_where_the_first_adapted_layer_begins(model, asked):
    """Packed or not, it is the gradient of the answer loss by the first adapted layer's attention output."""
    limit = LimitTraining(model, SETTINGS.adapter_layers)
    limit.loss(asked[:3]).backward()
    packed = limit.entry.grad
    single = []
    for question in asked[:3]:
        plain, kept = twin(model), []
        plain.model.layers[-2].self_attn.o_proj.register_forward_pre_hook(
            lambda module, inputs, kept=kept: kept.append(inputs[0].requires_grad_())
        )
        ids = torch.tensor([question.prompt + question.target])
        logits = plain(ids).logits[0, len(question.prompt) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(question.target), reduction="sum").backward()
        single.append(kept[0].grad[:, :-1])
    assert packed.abs().max() > 1e-3
    torch.testing.assert_close(packed, torch.cat(single, dim=1), rtol=1e-4, atol=1e-6)


def test_the_limit_keeps_no_graph_below_the_first_adapted_layer(model, asked):
    limit = LimitTraining(model, 1)
    seen = {}
    for index, layer in enumerate(limit.model.model.layers):
        layer.register_forward_hook(lambda module, inputs, output, index=index: seen.update({index: output}))
    limit.loss(asked[:2])
    assert [seen[index].requires_grad for index in range(4)] == [False, False, False, True]


def test_the_limit_reads_real_tokens_only(model, asked):
    limit, seen = LimitTraining(model, 2), []
    limit.model.model.layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[:2]))
    rows = []
    limit.model.lm_head.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    limit.epoch([asked])
    assert seen == [(1, real_tokens(asked))]
    assert rows == [sum(len(question.target) for question in asked)]


EXACT = [
    name
    for name in SCORING
    if not name.startswith("generation") and name not in ("mmadapter, compiled", "five letters' likelihood")
]


@pytest.mark.parametrize("name", EXACT)
def test_letters_are_scored_with_the_frozen_models_likelihoods(name, model, asked):
    expected = frozen_scores(model, asked)
    scores = SCORING[name].build(SETTINGS, model, asked)()
    if name == "per-option likelihood":  # it counts the shared tokens too, the same for every option
        expected = [np.subtract(row, max(row)) for row in expected]
        scores = [np.subtract(row, max(row)) for row in scores]
    for row, truth in zip(scores, expected, strict=True):
        np.testing.assert_allclose(row, truth, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["mmadapter, text-only", "mmadapter, multimodal", "per-option likelihood"])
def test_option_texts_are_scored_with_the_frozen_models_likelihoods(name, model, texts):
    assert max(len(option) for question in texts for option in question.options) > 3
    expected = frozen_scores(model, texts)
    scores = SCORING[name].build(SETTINGS, model, texts)()
    for row, truth in zip(scores, expected, strict=True):
        np.testing.assert_allclose(row, truth, rtol=1e-5, atol=1e-4)
        assert np.argmax(row) == np.argmax(truth)


def test_the_limit_of_option_texts_reads_each_token_once(model, texts):
    """Its values are not the exact ones, as it says; its work is: prompts, and each option but its last token."""
    from benchmarks.limit import limit_scoring, scored_row

    expected = sum(len(q.prompt) + sum(len(option) - 1 for option in q.options) for q in texts)
    assert sum(len(scored_row(question)[0]) for question in texts) == expected
    assert [len(row) for row in limit_scoring(model, [texts])()] == [len(question.options) for question in texts]


def test_five_letters_cost_five_forwards_a_question(model, asked):
    scores = SCORING["five letters' likelihood"].build(SETTINGS, model, asked)()
    assert [len(row) for row in scores] == [5] * len(asked)


@pytest.mark.parametrize("name", ["generation", "generation, PEFT"])
def test_generation_continues_each_prompt_greedily(name, model, asked):
    answers = SCORING[name].build(SETTINGS, model, asked)()
    plain = twin(model)
    for question in asked[:4]:
        tokens = list(question.prompt)
        for _ in range(8):
            with torch.no_grad():
                logits = plain(torch.tensor([tokens])).logits[0, -1]
            logits[plain.config.eos_token_id] = -math.inf  # every contender generates 8
            tokens.append(int(logits.argmax()))
        assert answers[question.pid] == tokens[-8:]


def test_trained_prompts_of_peft_score_as_ours_do(model, asked):
    """Its one gate a layer is each of our heads' tanh(g); with true positions, left padding changes nothing."""
    peft_model = peft_twin(SETTINGS, model)
    ours = adapted(SETTINGS, model, text_only=True)
    with torch.no_grad():
        for index, layer in enumerate(peft_model.base_model.model.model.layers[-2:]):
            layer.self_attn.adaption_gate.fill_(0.3 + index / 5)
            ours.adapter.prompts[index] = layer.self_attn.adaption_prompt[0]
            ours.adapter.gates[index] = math.atanh(0.3 + index / 5)
    theirs = left_padded_scorer(peft_model, [asked[:4], asked[4:]], asked)()
    with torch.no_grad():
        own = option_log_likelihoods(ours, adaption_of(ours, None, asked), asked)
    frozen = score_ours(SETTINGS, model, asked)()
    for row, truth, plain in zip(theirs, own, frozen, strict=True):
        np.testing.assert_allclose(row, truth, rtol=1e-4, atol=1e-4)
        assert np.abs(np.subtract(row, plain)).max() > 1e-2  # the prompts do something


def test_ours_gets_its_images(model, asked):
    """The multimodal contender's projection has a gradient: images reach the loss."""
    ours, seen = adapted(SETTINGS, model, text_only=False), images(SETTINGS, asked)
    assert 0 < len(seen.row) < len(asked)
    with torch.no_grad():
        ours.adapter.gates.fill_(0.5)
    answer_loss(ours, adaption_of(ours, seen, asked), asked).backward()
    assert all(weight.grad.abs().max() > 0 for weight in ours.adapter.projection.parameters())


def test_only_letters_part_in_their_last_token(asked, texts):
    assert set(LETTERS_ONLY) <= set(SCORING)
    assert all(len({tuple(option[:-1]) for option in question.options}) == 1 for question in asked)
    assert any(len({tuple(option[:-1]) for option in question.options}) > 1 for question in texts)


def test_7b_has_the_sizes_of_llama_7b():
    """On the meta device, where a weight has a shape and no number."""
    settings = Settings(size="7b", device="meta", dtype="bfloat16", questions=4, output=None)
    model = backbone(settings)
    assert sum(weight.numel() for weight in model.parameters()) == 6_738_415_616
    assert {(weight.dtype, weight.device.type) for weight in model.parameters()} == {(torch.bfloat16, "meta")}
    ours = adapted(settings, model, text_only=True)
    assert sum(weight.numel() for weight in ours.adapter.parameters()) == 1_229_760  # the paper's 1.2M
    assert settings.batch == 64
