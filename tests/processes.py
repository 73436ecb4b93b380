"""What `test_processes` compares with one process' work, in as many processes as torchrun starts."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState

from mmadapter.backbone.placement import shard
from mmadapter.config.settings import Recipe, Scoring
from mmadapter.data import load_dataset
from mmadapter.inference import predict as predict_module
from mmadapter.inference.image_features import question_images
from mmadapter.inference.predict import predict
from mmadapter.model import MultimodalAdapter
from mmadapter.storage.processes import leave_process_group
from mmadapter.training.loop import train
from tests.tiny import tiny_lm, tiny_model
from tests.training.test_loop import DATA, IMAGES, trained

SCORINGS: tuple[Scoring, ...] = ("likelihood", "generate")
UNEVEN = Recipe(epochs=2, batch_size=3, forward_tokens=200, learning_rate=1e-2, warmup_epochs=0.5)
"""Ten problems: in its last step one process has a problem, and the other none."""


def predict_all(model: MultimodalAdapter, folder: Path) -> None:
    """All questions of `test_loop`, by both scorings."""
    for scoring in SCORINGS:
        predict(model, DATA, scoring=scoring, images=IMAGES, file=folder / f"{scoring}.parquet", quiet=True)


def predict_colours(folder: Path, into: Path, scoring: Scoring) -> None:
    """The questions of `write_colours`, some of whose pictures are broken; in more batches than usual."""
    model = MultimodalAdapter.from_pretrained(folder / "adapter")
    data = load_dataset("scienceqa", [folder / "data"])["test"]
    images, data = question_images(model.tower, data, model.form, on_error="skip", quiet=True)
    batches = predict_module.length_batches
    predict_module.length_batches = partial(batches, max_tokens=300)
    try:
        predict(model, data, scoring=scoring, images=images, file=into / f"{scoring}.parquet", quiet=True)
    finally:
        predict_module.length_batches = batches


def local_bytes(model: torch.nn.Module) -> int:
    """Of the parameters, those that this process holds."""
    parameters = (getattr(p, "to_local", lambda p=p: p)() for p in model.parameters())
    return sum(p.untyped_storage().nbytes() for p in parameters)


def tied_is_the_same() -> bool:
    """A sharded model whose head is its words gives the logits of a whole one."""
    llm, tokens = tiny_lm(tie_word_embeddings=True), torch.arange(7)[None]
    whole = llm.model(tokens).logits
    shard(llm, torch.device("cpu"))
    return torch.equal(llm.model(tokens).logits, whole)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trained(folder / "two", resume=True)
    model = tiny_model(prompt_std=0.3, components=4)
    shard(model.llm, torch.device("cpu"))
    train(model, DATA, UNEVEN, images=IMAGES, folder=folder / "sharded", quiet=True)
    predict_all(model, folder / "sharded")
    asked, answer = [], predict_module._answers
    predict_module._answers = lambda *given: asked.append(1) or answer(*given)
    for scoring in SCORINGS:
        predict_colours(folder, folder / "gone-on", scoring)
    told = {"bytes": local_bytes(model.llm.model), "asked": len(asked), "tied": tied_is_the_same()}
    (folder / f"{PartialState().process_index}.json").write_text(json.dumps(told))
    leave_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
