"""A guard against slow code that is no timed test: what a training step and a scoring compute, counted."""

from collections import Counter

import pytest
import torch

from mmadapter.config.settings import InputFormat
from mmadapter.inference.likelihood import adaption_of, answer_loss, option_log_likelihoods
from mmadapter.inference.rows import length_batches
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.model import MultimodalAdapter
from tests.inference.test_likelihood import IMAGES, PROBLEMS
from tests.tiny import FixedTower, tiny_lm, tiny_model

PROMPTS = 5
"""K of the tiny model; its layers 1 and 2 are adapted, layer 0 is not."""


@pytest.fixture(params=["letter", "text"])
def model(request) -> MultimodalAdapter:
    return tiny_model(gate=0.5, form=InputFormat(answer=request.param))


@pytest.fixture
def questions(model) -> list[Encoded]:
    return Encoder(model.llm, model.form)(PROBLEMS)


def rows_of(model: MultimodalAdapter) -> Counter:
    """From here on, rows that pass the modules that cost: `layer.module`, and the head."""
    rows = Counter()
    named = {
        f"{i}.{name}": module for i, layer in enumerate(model.llm.layers) for name, module in layer.named_modules()
    }
    named["head"] = model.llm.model.get_output_embeddings()
    for name, module in named.items():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _m, _i, out, name=name: rows.update({name: out.shape[:-1].numel()}))
    return rows


def test_a_training_step(model, questions):
    rows = rows_of(model)
    answer_loss(model, adaption_of(model, IMAGES, questions), questions).backward()
    size = len(questions)
    tokens = size * max(len(question.read_tokens) for question in questions)
    read = size * max(len(question.target) for question in questions)
    assert rows["head"] == sum(len(question.target) for question in questions)
    # layer 0 is not adapted; layer 1: prompts once a batch, the image token once an example; layer 2: read where needed
    assert [rows[f"{i}.self_attn.k_proj"] for i in range(3)] == [tokens, tokens + PROMPTS, tokens + PROMPTS + read]
    assert [rows[f"{i}.self_attn.v_proj"] for i in range(3)] == [
        tokens,
        tokens + PROMPTS + size,
        tokens + PROMPTS + size + read,
    ]
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        assert [rows[f"{i}.{name}"] for i in range(3)] == [tokens, tokens, read]


def test_the_graph_of_a_step_does_not_grow_with_the_layers_below(model, questions):
    sizes = set()
    for depth in (2, 3, 6):
        deep = MultimodalAdapter.build(
            tiny_lm(num_hidden_layers=depth), FixedTower(), adapter_layers=2, form=model.form
        )
        seen, waiting = set(), [answer_loss(deep, adaption_of(deep, IMAGES, questions), questions).grad_fn]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in seen:
                seen.add(node)
                waiting.extend(following for following, _ in node.next_functions)
        sizes.add(len(seen))
    assert len(sizes) == 1


def test_a_scoring_is_one_forward_a_question(model, questions):
    rows = rows_of(model)
    batches = length_batches(questions)
    for batch in batches:
        asked = [questions[index] for index in batch]
        option_log_likelihoods(model, adaption_of(model, IMAGES, asked), asked)
    branches = sum(len(option) - 1 for q in questions for option in q.options) if model.form.answer == "text" else 0
    prompts = sum(len(question.prompt) for question in questions)
    shared = sum(len(question.options[0]) - 1 for question in questions) if model.form.answer == "letter" else 0
    assert rows["0.self_attn.q_proj"] <= 1.12 * (prompts + shared + branches)
    if model.form.answer == "letter":
        assert rows["head"] == len(questions)
