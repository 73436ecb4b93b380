"""A finished run's models, loaded again: for questions that they were not asked yet.

What they answer is stored in the run and read from there; nothing here is done twice.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

import pandas as pd
from accelerate import PartialState

from mmadapter.adapter.weights import load_adapter
from mmadapter.backbone import be_deterministic, resolve_device, resolve_dtype
from mmadapter.config import Scoring
from mmadapter.errors import UserError
from mmadapter.evaluation.conditions import control_answers
from mmadapter.evaluation.predict import predict
from mmadapter.evaluation.predictions import run_settings
from mmadapter.features import question_images
from mmadapter.files import sole_writer, write_whole
from mmadapter.frozen import load_frozen
from mmadapter.model import MultimodalAdapter
from mmadapter.processes import is_first
from mmadapter.scienceqa.problems import Dataset
from mmadapter.scienceqa.records import OnError
from mmadapter.settings import CONFIG_FILE
from mmadapter.vision.towers import load_tower


def load_variant(folder: Path) -> MultimodalAdapter:
    """A variant's trained model, with the device and number format of its run.

    The language model is loaded once for variants that follow each other on the same one. That of a sharded run is
    sharded among as many processes as there are now, and whole in a single one.

    Raises:
        UserError: no trained adapter here (yet), a backbone that is gone or another, no such device.
    """
    settings = run_settings(folder)
    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{folder}: its training is not finished\n"
            f"  mmadapter-train --resume --output-dir {folder.parent} goes on with it"
        )
    if settings["deterministic"]:
        be_deterministic()
    device = resolve_device(settings["device"])
    dtype, several = resolve_dtype(settings["dtype"], device), PartialState(cpu=device.type == "cpu").num_processes > 1
    sharded, offloaded = settings["shard"] and several, settings["offload"]
    llm = _language_model(
        settings["llm"], device, dtype, quantise=settings["quantise"], sharded=sharded, offloaded=offloaded
    )
    tower = None
    if settings["variant"] != "text":
        tower = load_tower(settings["clip"], scales=settings["scales"], device=device)
    return MultimodalAdapter.from_pretrained(folder, llm=llm, tower=tower)


def load_run_or_adapter(path: Path) -> MultimodalAdapter:
    """The model of a run (the multimodal variant where it has one), of a variant, or of an adapter's folder alone.

    Raises:
        UserError: as `load_variant` and `MultimodalAdapter.from_pretrained`.
    """
    folder = next((path / name for name in ("multimodal", "text") if (path / name).is_dir()), path)
    if (folder / CONFIG_FILE).is_file():
        return load_variant(folder)
    _, saved = load_adapter(folder)
    device, name = resolve_device("auto"), saved.get("llm")
    llm = _language_model(name, device, resolve_dtype("auto", device)) if isinstance(name, str) else None
    return MultimodalAdapter.from_pretrained(folder, llm=llm)


_language_model = lru_cache(maxsize=1)(load_frozen)


def store_predictions(file: Path, data: Dataset, *, scoring: Scoring, on_error: OnError, quiet: bool) -> None:
    """Lets the variant in whose folder `file` is to lie answer the questions.

    Args:
        on_error: whether a broken image stops it, or its question is left out.

    Raises:
        UserError: as `load_variant`; a broken image, or a question too long for the model.
    """
    with sole_writer(_run_of(file.parent)) if is_first() else nullcontext():
        model = load_variant(file.parent)
        images = None
        if model.tower is not None:
            images, data = question_images(model.tower, data, model.form, on_error=on_error, quiet=quiet)
        predict(
            model,
            data,
            scoring=scoring,
            images=images,
            file=file,
            store_activations=run_settings(file.parent)["store_activations"],
            title=f"{file.parent.name}, answering",
            quiet=quiet,
        )


def store_controls(file: Path, data: Dataset, answers: pd.DataFrame, *, scoring: Scoring, quiet: bool) -> pd.DataFrame:
    """Asks the variant in whose folder `file` is to lie under every condition; returns the records.

    An interrupted call goes on after the last batch that it finished.

    Args:
        answers: its predictions of `data` with the same scoring.

    Raises:
        UserError: as `load_variant` and `conditions.control_answers`.
    """
    unfinished = file.with_name(f"{file.stem}-unfinished")
    with sole_writer(_run_of(file.parent)) if is_first() else nullcontext():
        model = load_variant(file.parent)
        store = run_settings(file.parent)["store_activations"]
        records = control_answers(
            model, data, answers, scoring=scoring, folder=unfinished, store_activations=store, quiet=quiet
        )
        if is_first():
            write_whole(file, records.to_parquet)
            shutil.rmtree(unfinished, ignore_errors=True)
    return records


def _run_of(variant: Path) -> Path:
    """The folder whose one writer may write a variant's: its run's, or its own where it was taken out of it."""
    return variant.parent if (variant.parent / CONFIG_FILE).is_file() else variant
