"""Gates and prompt attention against the formula of the module, every token and head for itself, in float64."""

import json
import math

import pandas as pd
import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.prompt_attention import prompt_attention_of, write_prompt_attention
from mmadapter.inference.tokenising import Encoder
from tests.evaluation.questions import questions
from tests.tiny import FEATURE_SIZES, HEAD_SIZE, HEADS, KEY_HEADS, LAYERS, tiny_model

ADAPTED = (LAYERS - 2, LAYERS - 1)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return questions(tmp_path_factory.mktemp("asked"))["test"].first(6)


@pytest.fixture(scope="module")
def images(asked):
    pids = [p.pid for p in asked if p.image is not None]
    features = torch.randn(len(pids), sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(5))
    return QuestionImages(features, {pid: row for row, pid in enumerate(pids)})


def expected_frame(model, data, images) -> pd.DataFrame:
    """One question at a time, unpadded; a layer's input is read off the running model, the rest is written out."""
    llm, per_question = model.llm.model.double(), []
    model.adapter.double()
    for question in Encoder(model.llm, model.form)(data):
        features, has_image = images.of([question.pid])
        adaption = model.adapter(features.double(), has_image)
        inputs = _inputs(model, adaption, question.prompt)
        for index, n in enumerate(ADAPTED):
            per_question += _layer(llm.model.layers[n].self_attn, n, inputs[n], adaption, index, has_image.item())
    return pd.DataFrame(per_question).groupby(["layer", "head"]).mean().reset_index()


def _inputs(model, adaption, prompt):
    """What reaches the attention of each adapted layer."""
    inputs = {}
    layers = {n: model.llm.model.model.layers[n].self_attn for n in ADAPTED}

    def keep(module, args, kwargs):
        inputs[module.layer_idx] = kwargs

    hooks = [attention.register_forward_pre_hook(keep, with_kwargs=True) for attention in layers.values()]
    with model.prompted(adaption):
        model.llm.model.model(input_ids=torch.tensor([prompt]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return inputs


def _layer(attention, layer, inputs, adaption, index, has_image):
    states, (cos, sin) = inputs["hidden_states"], inputs["position_embeddings"]
    length = states.shape[1]

    def heads(projected):
        return projected.unflatten(-1, (-1, HEAD_SIZE)).transpose(-3, -2)

    query, key = apply_rotary_pos_emb(
        heads(attention.q_proj(states)), heads(attention.k_proj(states)), cos.double(), sin.double()
    )
    value = heads(attention.v_proj(states))
    prompts = adaption.prompts[index]
    prompt_key, prompt_value = heads(attention.k_proj(prompts)), heads(attention.v_proj(prompts))
    image = heads(attention.v_proj(adaption.image_token))[:, 0]
    causal = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    for head in range(HEADS):
        group = head // (HEADS // KEY_HEADS)
        gate = adaption.gates[index, head]
        frozen = (query[0, head] @ key[0, group].T / math.sqrt(HEAD_SIZE) + causal).softmax(-1) @ value[0, group]
        weights = (query[0, head] @ prompt_key[group].T / math.sqrt(HEAD_SIZE)).softmax(-1)
        added = torch.stack(
            [
                gate * (sum(w * v for w, v in zip(row, prompt_value[group], strict=True)) + image[group])
                for row in weights
            ]
        )
        yield {
            "layer": layer,
            "head": head,
            "gate": gate.item(),
            "prompts": (added.norm() / frozen.norm()).item(),
            "image": (math.sqrt(length) * (gate * image[group]).norm() / frozen.norm()).item()
            if has_image
            else math.nan,
            "entropy": sum(-(row * row.log()).sum().item() for row in weights) / length,
        }


def test_equals_the_formula_in_float64(asked, images):
    model = tiny_model(gate=0.5)
    measured = prompt_attention_of(model, asked, images=images)
    with torch.no_grad():
        expected = expected_frame(tiny_model(gate=0.5), asked, images)
    pd.testing.assert_frame_equal(measured.heads, expected, check_exact=False, rtol=1e-4)  # float32
    assert (measured.n, measured.n_image, measured.adapter_len) == (6, len(images.row), 5)
    assert 0 < measured.n_image < 6
    assert measured.heads["entropy"].max() < math.log(5)


def test_answers_do_not_change_and_nothing_is_left_behind(asked, images):
    model = tiny_model(gate=0.5)
    tokens, read = torch.arange(3, 16)[None], (torch.zeros(13, dtype=torch.long), torch.arange(13))
    adaption = model.adapter(torch.randn(1, sum(FEATURE_SIZES)))
    before = model.logits(adaption, tokens, read)
    prompt_attention_of(model, asked, images=images)
    assert torch.equal(model.logits(adaption, tokens, read), before)


def test_a_text_only_adapter_has_no_image_part(asked, tmp_path):
    measured = prompt_attention_of(tiny_model(text_only=True, gate=0.5), asked)
    assert measured.heads["image"].isna().all()
    assert measured.n_image == 0
    write_prompt_attention(measured, tmp_path / "attention.json")
    stored = json.loads((tmp_path / "attention.json").read_text())
    assert stored["heads"][0]["image"] is None
    assert len(stored["heads"]) == 2 * HEADS


def test_a_closed_gate_adds_nothing(asked, images):
    heads = prompt_attention_of(tiny_model(), asked, images=images).heads
    assert (heads[["gate", "prompts", "image"]] == 0).all(axis=None)


def test_the_draw_is_seeded_and_no_larger_than_asked(asked, images):
    model = tiny_model(gate=0.5)
    first, again, other = (prompt_attention_of(model, asked, images=images, questions=3, seed=s) for s in (0, 0, 1))
    assert first.n == 3
    pd.testing.assert_frame_equal(first.heads, again.heads)
    assert not first.heads.equals(other.heads)
