"""mmadapter: multimodal LLaMA-Adapter (arXiv 2303.16199) and its ScienceQA benchmark.

import mmadapter as mma

data = mma.load_dataset("scienceqa", data_dir)
model = mma.MultimodalAdapter.build("tiny-llama", "tiny-clip", adapter_layers=6)
mma.train(model, data)
predictions = mma.predict(model, data["test"])
frame = mma.error_frame(predictions, data)
table = mma.accuracy_table(frame, published=True)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmadapter.config.settings import InputFormat, Recipe, RunConfig
    from mmadapter.data import load_dataset
    from mmadapter.errors import UserError
    from mmadapter.evaluation.accuracy import accuracy_table
    from mmadapter.evaluation.frame import error_frame
    from mmadapter.experiment.run import run_experiment
    from mmadapter.inference.adapter_set import AdapterSet
    from mmadapter.inference.predict import predict
    from mmadapter.model import MultimodalAdapter
    from mmadapter.training.loop import train

_HOME = {
    "AdapterSet": "inference.adapter_set",
    "InputFormat": "config.settings",
    "MultimodalAdapter": "model",
    "Recipe": "config.settings",
    "RunConfig": "config.settings",
    "UserError": "errors",
    "accuracy_table": "evaluation.accuracy",
    "error_frame": "evaluation.frame",
    "load_dataset": "data",
    "predict": "inference.predict",
    "run_experiment": "experiment.run",
    "train": "training.loop",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: torch takes seconds, `--help` must not."""
    if name not in _HOME:
        raise AttributeError(f"module 'mmadapter' has no attribute {name!r}")
    return getattr(import_module(f"mmadapter.{_HOME[name]}"), name)
