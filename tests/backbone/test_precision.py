"""bfloat16 of the frozen model: what it may change, and by how much."""

import torch

from mmadapter.backbone.loading import load_llm
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import InputFormat, Recipe
from mmadapter.data import load_dataset
from mmadapter.inference.predict import predict
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset
from mmadapter.training.loop import train

LOSS = 0.02
"""Share by which the training loss of an epoch, and its validation loss, may differ."""

ANSWERS = 0.04
"""Share of the questions that may be answered differently: those whose best options are almost as likely."""


def test_bfloat16_learns_and_answers_as_float32_does():
    """Embedded language model, 320 questions of the demo, one epoch without their pictures; 125 others."""
    problems = list(load_dataset("demo")["train"])[:445]
    splits = {"train": tuple(p.pid for p in problems[:320]), "val": tuple(p.pid for p in problems[320:])}
    data = Dataset("demo", {problem.pid: problem for problem in problems}, splits)
    tiny = PRESETS["tiny"]
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=tiny.learning_rate, warmup_epochs=0.2)

    def trained(dtype: torch.dtype):
        model = MultimodalAdapter.build(
            load_llm("tiny-llama", dtype=dtype), None, adapter_layers=4, prompt_std=0.1, form=InputFormat(answer="text")
        )
        record = train(model, data, recipe, quiet=True)[0]
        assert {weight.dtype for weight in model.adapter.parameters()} == {torch.float32}
        return record, predict(model, data["val"], quiet=True)["prediction"]

    (exact, answers), (half, rounded) = trained(torch.float32), trained(torch.bfloat16)
    assert 40 < exact.val_accuracy < 100  # it has learned, and not everything is easy
    assert abs(half.train_loss / exact.train_loss - 1) < LOSS
    assert abs(half.val_loss / exact.val_loss - 1) < LOSS
    assert (answers != rounded).mean() <= ANSWERS
