"""Generated text against a loop without a cache, without padding and without `generate`."""

import pytest
import torch

from mmadapter.inference.generation import generate
from mmadapter.inference.likelihood import adaption_of
from tests.inference.test_likelihood import IMAGES, encoded
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(gate=0.5)


def test_generation_is_greedy_and_neither_the_padding_nor_the_cache_matters(model):
    questions = encoded(model)
    with model.prompted(adaption_of(model, IMAGES, questions)):
        together = generate(model.llm, [question.prompt for question in questions], 6)
    for question, text in zip(questions, together, strict=True):
        tokens = list(question.prompt)
        with torch.no_grad(), model.prompted(adaption_of(model, IMAGES, [question])):
            for _ in range(6):
                tokens.append(int(model.llm.model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
                if tokens[-1] == model.llm.tokenizer.eos_token_id:
                    break
        assert text == model.llm.tokenizer.decode(tokens[len(question.prompt) :], skip_special_tokens=True)


def test_drawing_follows_the_seed_and_a_small_top_p_is_greedy(model):
    prompts = [encoded(model)[0].prompt]

    def drawn(seed: int, **settings) -> str:
        torch.manual_seed(seed)
        with model.prompted(model.adapter(torch.zeros(1, 18), torch.tensor([False]))):
            return generate(model.llm, prompts, 12, **settings)[0]

    hot = {"temperature": 2.0, "top_p": 1.0}
    assert drawn(1, **hot) == drawn(1, **hot)
    assert len({drawn(seed, **hot) for seed in range(4)}) > 1
    assert drawn(1, temperature=2.0, top_p=1e-6) == drawn(2)
