"""What a model says to a line is what generation says to its prompt, word by word, with its picture."""

import pytest
import torch

from mmadapter.adapter import attention
from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.inference.generation import generate
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import option_log_likelihoods
from mmadapter.inference.responder import Responder
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Problem
from tests.tiny import FEATURE_SIZES, tiny_model


def instruction_model(**changes) -> MultimodalAdapter:
    return tiny_model(text_only=True, gate=0.5, form=InputFormat(answer="response"), **changes)


def said(model: MultimodalAdapter, line: str, context: str = "", **settings) -> str:
    speaker = Responder(model, max_new_tokens=8, **settings)
    with speaker.ready():
        return speaker.say(line, context)


def test_an_instruction_gets_its_template_and_a_greedy_response(capsys):
    model = instruction_model()
    problem = Problem(pid="1", split="", question="Add.", hint="1 2", choices=("3",), answer=0)
    (encoded,) = Encoder(model.llm, model.form)([problem])
    with model.prompted(model.adapter()):
        (expected,) = generate(model.llm, [encoded.prompt], 8)
    assert said(model, "Add.", "1 2", temperature=0.0) == expected.strip()
    assert capsys.readouterr().out.strip() == expected.strip()


def test_a_question_gets_its_options(capsys):
    model = tiny_model(text_only=True, gate=0.5, form=InputFormat(answer="text"))
    problem = Problem(pid="1", split="", question="Hot?", hint="h", choices=("ice", "fire"), answer=0)
    (encoded,) = Encoder(model.llm, model.form)([problem])
    with model.prompted(model.adapter()):
        (expected,) = generate(model.llm, [encoded.prompt], 8)
    assert said(model, "Hot? | ice | fire", "h") == expected.strip()
    likely = option_log_likelihoods(model, model.adapter(), [encoded])[0].softmax(0)
    assert capsys.readouterr().err == f"by likelihood: ice {likely[0]:.0%}, fire {likely[1]:.0%}\n"
    with model.prompted(model.adapter()):  # what is scored in between leaves the prompts where they were
        option_log_likelihoods(model, model.adapter(), [encoded])
        assert generate(model.llm, [encoded.prompt], 8) == [expected]
    assert said(model, "Hot? | ice | fire", "h", quiet=True) == expected.strip()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("line", ["Hot?", "Hot? | ", "Hot? | " + " | ".join("abcdef")])
def test_a_question_without_its_options_is_told(line):
    with pytest.raises(UserError, match="1 to 5 options are needed"):
        said(tiny_model(text_only=True), line)


def test_responses_are_drawn_by_the_seed():
    model = instruction_model()
    assert Responder(model).temperature == 0.1
    assert Responder(tiny_model(text_only=True)).temperature == 0.0
    hot = {"temperature": 3.0, "top_p": 1.0}
    assert said(model, "Say.", seed=1, **hot) == said(model, "Say.", seed=1, **hot)
    assert len({said(model, "Say.", seed=seed, **hot) for seed in range(4)}) > 1


def test_prompts_are_projected_once_for_all_lines_and_steps(monkeypatch):
    model, calls = instruction_model(), []
    project = attention.project_prompts
    monkeypatch.setattr("mmadapter.model.project_prompts", lambda *given: calls.append(1) or project(*given))
    speaker = Responder(model, max_new_tokens=4)
    with speaker.ready():
        speaker.say("One.")
        speaker.say("Two.")
    assert len(calls) == model.adapter.config.adapter_layers


def test_a_prompt_beyond_the_models_positions_is_told():
    with pytest.raises(UserError, match=r"the prompt has 1,\d+ tokens, too many for tiny-in-memory"):
        said(instruction_model(), "x" * 1100)


def test_the_picture_is_read_once_and_becomes_the_image_token(monkeypatch, tmp_path):
    model = tiny_model(gate=0.5, form=InputFormat(answer="text"))
    features, read = torch.ones(1, sum(FEATURE_SIZES)), []

    def question_images(tower, data, form, *, quiet):
        read.extend(problem.image.read() for problem in data)
        return QuestionImages(features, {"asked": 0}), data

    monkeypatch.setattr("mmadapter.inference.responder.question_images", question_images)
    (tmp_path / "a.png").write_bytes(b"a picture")
    problem = Problem(pid="1", split="", question="Hot?", choices=("ice", "fire"), answer=0)
    (encoded,) = Encoder(model.llm, model.form)([problem])
    for image, has_image in ((tmp_path / "a.png", True), (None, False)):
        with model.prompted(model.adapter(features, torch.tensor([has_image]))):
            (expected,) = generate(model.llm, [encoded.prompt], 8)
        assert said(model, "Hot? | ice | fire", image=image) == expected.strip()
    assert read == [b"a picture"]


def test_a_text_only_adapter_refuses_a_picture(tmp_path):
    with pytest.raises(UserError, match="this adapter is text-only: it sees no image"):
        Responder(instruction_model(), image=tmp_path / "a.png")
