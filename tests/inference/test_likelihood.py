"""Likelihood of options against plain forwards, one option a row; generation against a plain greedy loop."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks import answers
from mmadapter.config.settings import InputFormat
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import (
    adaption_of,
    answer_and_choice_loss,
    answer_loss,
    option_log_likelihoods,
    target_and_option_log_likelihoods,
)
from mmadapter.inference.rows import length_batches
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Problem
from tests.tiny import FEATURE_SIZES, tiny_model

PROBLEMS = [
    Problem(
        pid="1", split="test", question="Which is a solid?", choices=("rain", "a hammer", "a ham"), answer=1, hint=""
    ),
    Problem(pid="2", split="test", question="What colour?", choices=("red", "blue"), answer=0, hint="It is warm."),
    Problem(pid="3", split="test", question="Only one?", choices=("yes",), answer=0, hint=None),
    Problem(pid="4", split="test", question="Same?", choices=("a b", "a b c", "a", "b", "c"), answer=4, hint="x " * 30),
]
IMAGES = QuestionImages(
    torch.randn(2, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(2)), {"1": 0, "4": 1}
)


def encoded(model: MultimodalAdapter) -> list[Encoded]:
    return Encoder(model.llm, model.form)(PROBLEMS)


@pytest.fixture(params=["letter", "text"])
def model(request) -> MultimodalAdapter:
    return tiny_model(gate=0.5, form=InputFormat(answer=request.param))


@torch.no_grad()
def plain_log_likelihood(model: MultimodalAdapter, question: Encoded, option: list[int]) -> float:
    return plain_log_probability(model, question, option).item()


def plain_log_probability(model: MultimodalAdapter, question: Encoded, option: list[int]) -> Tensor:
    return answers.plain_log_probability(model, adaption_of(model, IMAGES, [question]), question, option)


def test_options_scored_together_equal_options_scored_alone(model):
    """Up to what all options of a question share, which moves every one of them alike."""
    questions = encoded(model)
    scores = option_log_likelihoods(model, adaption_of(model, IMAGES, questions), questions)
    for question, score in zip(questions, scores, strict=True):
        alone = torch.tensor([plain_log_likelihood(model, question, option) for option in question.options])
        torch.testing.assert_close(score - score[0], (alone - alone[0]).double(), rtol=0, atol=5e-5)  # float32 sums
        assert score.argmax() == alone.argmax()


def test_the_batch_size_changes_no_score(model):
    questions = encoded(model)
    together = option_log_likelihoods(model, adaption_of(model, IMAGES, questions), questions)
    for question, score in zip(questions, together, strict=True):
        (alone,) = option_log_likelihoods(model, adaption_of(model, IMAGES, [question]), [question])
        torch.testing.assert_close(score, alone, rtol=0, atol=5e-5)


def test_answer_loss_is_the_summed_likelihood_of_the_targets(model):
    questions = encoded(model)
    loss = answer_loss(model, adaption_of(model, IMAGES, questions), questions)
    expected = -sum(plain_log_likelihood(model, question, question.target) for question in questions)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_on_the_choice_and_its_gradient_are_those_of_options_read_alone(model):
    questions = encoded(model)
    found, plain = [], []
    for losses, both in ((found, True), (plain, False)):
        if both:
            answer, choice = answer_and_choice_loss(model, adaption_of(model, IMAGES, questions), questions)
        else:
            scores = [torch.stack([plain_log_probability(model, q, o) for o in q.options]) for q in questions]
            answer = -sum(plain_log_probability(model, q, q.target) for q in questions)
            choice = sum(
                cross_entropy(score, torch.tensor(q.answer)) for q, score in zip(questions, scores, strict=True)
            )
        for loss in (answer, choice):
            gradients = torch.autograd.grad(loss, [*model.adapter.parameters()], retain_graph=True)
            losses.extend([loss.detach().double(), *(gradient.double() for gradient in gradients)])
    for own, expected in zip(found, plain, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=2e-5)


def test_letters_are_read_at_one_position_and_no_branch_is_computed():
    """Counted, not timed: tokens that pass the model, and logits that are computed."""
    model = tiny_model(gate=0.5)
    questions = encoded(model)
    seen = {}
    model.llm.layers[0].register_forward_pre_hook(
        lambda _m, args, kwargs: seen.update(tokens=args[0].shape[:2], mask=kwargs["attention_mask"]), with_kwargs=True
    )
    model.llm.model.get_output_embeddings().register_forward_hook(lambda _m, _i, out: seen.update(logits=len(out)))
    option_log_likelihoods(model, adaption_of(model, IMAGES, questions), questions)
    longest = max(len(question.prompt) + len(question.options[0]) - 1 for question in questions)
    assert seen["tokens"] == (len(questions), longest)
    assert seen["mask"] is None  # the causal kernel
    assert seen["logits"] == len(questions)


def test_option_texts_share_their_question():
    """Prompt and shared beginning once; of each option only what is its own, its last token never."""
    model = tiny_model(gate=0.5, form=InputFormat(answer="text"))
    (question,) = Encoder(model.llm, model.form)(PROBLEMS[:1])
    seen = []
    model.llm.layers[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape[1]))
    option_log_likelihoods(model, model.adapter(), [question])
    own = [len(option) - 1 - 1 for option in question.options]  # without the shared space and the end token
    assert seen == [len(question.prompt) + 1 + sum(own)]


def test_a_validation_reads_targets_and_options_in_one_forward(model):
    questions = encoded(model)
    adaption = adaption_of(model, IMAGES, questions)
    scored = target_and_option_log_likelihoods(model, adaption, questions)
    alone = option_log_likelihoods(model, adaption, questions)
    for question, (target, options), others in zip(questions, scored, alone, strict=True):
        assert target.item() == pytest.approx(plain_log_likelihood(model, question, question.target), abs=1e-4)
        torch.testing.assert_close(options - options[0], others - others[0], rtol=0, atol=1e-4)


def test_batches_hold_every_question_once_and_neither_too_many_tokens_nor_much_padding(model, monkeypatch):
    questions = encoded(model) * 5
    batches = length_batches(questions, max_tokens=700)
    assert sorted(index for batch in batches for index in batch) == list(range(len(questions)))
    rows = []
    monkeypatch.setattr(model, "logits", lambda _adaption, tokens, *_, **__: rows.append(tokens) or pytest.skip())
    for batch in batches:
        with pytest.raises(pytest.skip.Exception):
            option_log_likelihoods(model, model.adapter(), [questions[index] for index in batch])
        size, longest = rows[-1].shape
        assert size == 1 or size * longest <= 700
        assert (rows[-1] != 0).sum() >= 0.9 * rows[-1].numel()  # no row has a token 0 of its own here
