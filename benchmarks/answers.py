"""Answers of the fast scoring against those of a plain forward, on a run's test questions.

    python -m benchmarks.answers --run runs/demo

The plain way reads each option of each question by itself, through the language model's own forward, with the logits of
every token. Both ways use float32, whatever the run's format.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import RESULTS, Table, publish
from mmadapter.adapter.parameters import Adaption
from mmadapter.cli.options import program
from mmadapter.data import load_dataset
from mmadapter.experiment.reload import load_variant
from mmadapter.inference.image_features import question_images
from mmadapter.inference.likelihood import adaption_of
from mmadapter.inference.predict import predict
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.folder import RunFolder
from mmadapter.storage.progress import progress_bar


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    run: Path = Path("runs/demo")
    """Folder of a run with a multimodal variant."""
    questions: int = 0
    """Number of questions, the first of the test split; 0 is all."""
    output: Path | None = RESULTS
    """Folder of the result file."""

    @property
    def tag(self) -> str:
        """Part of a result file's name."""
        config = RunFolder(self.run).config
        return f"{config.dataset}-{config.preset}"


@torch.no_grad()
def main(settings: AnswerSettings) -> None:
    """Publish the table."""
    config = RunFolder(settings.run).config
    data = load_dataset(config.dataset, config.data_dir or None)["test"].first(settings.questions or None)
    model = load_variant(settings.run / "multimodal")
    model.llm.model.float()
    images, data = question_images(model.tower, data, model.form)
    started = time.perf_counter()
    answers = predict(model, data, images=images)
    between = time.perf_counter()
    plain = []
    with progress_bar("answering, the plain way", len(answers)) as update:
        for question in Encoder(model.llm, model.form)(list(data)):
            adaption = adaption_of(model, images, [question])
            scores = [plain_log_probability(model, adaption, question, option) for option in question.options]
            plain.append(torch.stack(scores).softmax(0).cpu())
            update(len(plain))
    ended = time.perf_counter()
    pairs = zip(answers["probabilities"], plain, strict=True)
    chosen = zip(answers["prediction"], plain, strict=True)
    row = {
        "questions": f"{len(answers):,}",
        "other answers": sum(int(own.argmax() != prediction) for prediction, own in chosen),
        "largest difference of a probability": max((torch.tensor(a).double() - b).abs().max().item() for a, b in pairs),
        "seconds": between - started,
        "seconds, plain": ended - between,
    }
    workload = {"data": data.name, "llm": config.llm, "answer": config.answer}
    publish("answers", settings, workload, [Table("the same questions, both ways", [row])])


def plain_log_probability(model: MultimodalAdapter, adaption: Adaption, question: Encoded, option: list[int]) -> Tensor:
    """Return an option's log-probability, float64[], by the language model's own forward over one row, all logits."""
    tokens = torch.tensor([question.prompt + option], device=model.llm.model.device)
    with model.prompted(adaption):
        log_probabilities = model.llm.model(input_ids=tokens).logits[0].double().log_softmax(-1)
    start = len(question.prompt) - 1
    return torch.stack([log_probabilities[start + at, token] for at, token in enumerate(option)]).sum()


if __name__ == "__main__":
    program(main, AnswerSettings)
