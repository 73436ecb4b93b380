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
    from mmadapter.adapters import Adapters
    from mmadapter.config import InputFormat, Recipe, RunConfig
    from mmadapter.errors import UserError
    from mmadapter.evaluation.accuracy import accuracy_table
    from mmadapter.evaluation.frame import error_frame
    from mmadapter.evaluation.predict import predict
    from mmadapter.experiment import run_experiment
    from mmadapter.model import MultimodalAdapter
    from mmadapter.scienceqa.load import load_dataset
    from mmadapter.training.loop import train

_HOME = {
    "Adapters": "adapters",
    "InputFormat": "config",
    "MultimodalAdapter": "model",
    "Recipe": "config",
    "RunConfig": "config",
    "UserError": "errors",
    "accuracy_table": "evaluation.accuracy",
    "error_frame": "evaluation.frame",
    "load_dataset": "scienceqa.load",
    "predict": "evaluation.predict",
    "run_experiment": "experiment",
    "train": "training.loop",
}

__all__ = [
    "Adapters",
    "InputFormat",
    "MultimodalAdapter",
    "Recipe",
    "RunConfig",
    "UserError",
    "accuracy_table",
    "error_frame",
    "load_dataset",
    "predict",
    "run_experiment",
    "train",
]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: torch takes seconds, `--help` must not."""
    if name not in _HOME:
        raise AttributeError(f"module 'mmadapter' has no attribute {name!r}")
    return getattr(import_module(f"mmadapter.{_HOME[name]}"), name)
