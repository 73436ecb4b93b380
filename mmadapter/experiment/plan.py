"""What a run is going to do and to need, told before anything heavy begins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import torch
from accelerate import PartialState

from mmadapter.backbone.device import resolve_dtype
from mmadapter.backbone.threads import use_threads
from mmadapter.config.settings import InputFormat, Variant
from mmadapter.experiment.estimate import probe, run_seconds
from mmadapter.experiment.prepare import Prepared
from mmadapter.inference.image_features import images_seen
from mmadapter.inference.rows import scored_length
from mmadapter.inference.tokenising import Encoder
from mmadapter.storage.files import free_room
from mmadapter.storage.paths import cache_dir
from mmadapter.storage.progress import clock
from mmadapter.training.memory import LIBRARIES, Memory, free_memory
from mmadapter.vision.store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of a run. Text: a line for each."""

    dataset: str
    problems: dict[str, int]
    """By split that is trained on, validated or tested."""
    skipped: int
    images: int
    new_images: int
    """Not in the feature store yet."""
    tokens: dict[str, int]
    """Tokens of `train`, `val` and, as `test`, the tested split; options that are compared count."""
    trainable: dict[Variant, int]
    frozen: int
    """Parameters of the language model."""
    memory: Memory
    process: int | None
    """Bytes of the whole process, libraries and all; None where the tensors lie on another device.

    Told and held at the peak: 1.1 and 1.1 GB for `tiny` on the demo, 2.2 and 2.1 GB for `small` on 48 questions.
    """
    free_memory: int
    disk: int
    """Bytes that are written at most."""
    room: int
    threads: str
    seconds: float | None
    """Expected time; None where it is not estimated."""

    def __str__(self) -> str:
        problems = ", ".join(f"{count:,} {split}" for split, count in self.problems.items())
        trainable = ", ".join(f"{name} {count:,}" for name, count in self.trainable.items())
        whole = f", {_gigabytes(self.process)} with the libraries" if self.process else ""
        lines = {
            "data": f"{self.dataset}: {problems}" + (f"; {self.skipped:,} skipped" if self.skipped else ""),
            "images": f"{self.images:,}, {self.new_images:,} of them to encode",
            "tokens": f"{self.tokens['train']:,} an epoch, {self.tokens['val']:,} to validate, "
            f"{self.tokens['test']:,} to answer",
            "parameters": f"{trainable}; on {self.frozen:,} frozen ones",
            "memory": f"{_gigabytes(self.memory.total)} of tensors{whole}, {_gigabytes(self.free_memory)} free",
            "disk": f"{_gigabytes(self.disk)}, {_gigabytes(self.room)} free",
            "threads": self.threads,
            "time": "not estimated"
            if self.seconds is None
            else f"about {clock(self.seconds)} on this machine as it is",
        }
        return "\n".join(f"{name:<11} {text}" for name, text in lines.items())


def make_plan(prepared: Prepared) -> Plan:
    """Count what a run has to do, and time two seconds of it.

    Time is not estimated for several processes, and not where layers are compiled, quantised, sharded or offloaded.

    Raises:
        UserError: a problem that does not fit into `max_tokens`, or a feature store that cannot be read.
    """
    config, llm, data = prepared.config, prepared.skeleton, prepared.data
    form, size = config.part(InputFormat), llm.model.config
    resident = psutil.Process().memory_info().rss  # before the probe
    encode = Encoder(llm, form)
    train = encode(data["train"]) if "train" in data.splits else []
    lengths = {
        "train": [scored_length(question) if config.choice_loss else len(question.read_tokens) for question in train],
        "val": [scored_length(question) for question in (encode(data["val"]) if "val" in data.splits else ())],
        "test": [scored_length(question) for question in encode(data[config.split])],
    }
    tokens = {name: sum(each) for name, each in lengths.items()}
    images, new, encoding, disk = 0, 0, 0.0, prepared.checkpoints
    if config.store_activations:
        disk += sum(tokens.values()) * size.hidden_size * resolve_dtype(config.dtype, prepared.device).itemsize
    seconds = None
    with use_threads(prepared.threads):
        if prepared.tower is not None:
            seen = list(images_seen(data, form).values())
            store = FeatureStore(cache_dir() / "features", prepared.tower)
            images, new = len(seen), store.count_new(seen)
            encoding = new * _image_seconds(store) if new else 0.0
            disk += new * sum(prepared.tower.feature_sizes) * torch.float32.itemsize
        unusual = config.compile or config.shard or config.offload or config.quantise != "none"
        if train and not unusual and PartialState().num_processes == 1:
            costs = probe(config, llm, train, prepared.device)
            seconds = encoding + run_seconds(config, costs, tokens, size.num_hidden_layers, len(prepared.adapters))
    return Plan(
        dataset=data.name,
        problems={
            name: len(data[name]) for name in dict.fromkeys(("train", "val", config.split)) if name in data.splits
        },
        skipped=len(data.skipped),
        images=images,
        new_images=new,
        tokens=tokens,
        trainable=prepared.adapters,
        frozen=sum(parameter.numel() for parameter in llm.model.parameters()),
        memory=prepared.memory,
        process=prepared.memory.total - LIBRARIES + resident if prepared.device.type == "cpu" else None,
        free_memory=free_memory(prepared.device),
        disk=disk,
        room=free_room(config.folder),
        threads=str(prepared.threads),
        seconds=seconds,
    )


def _image_seconds(store: FeatureStore) -> float:
    """Return the time that the tower takes for an image, after its first batch."""
    tower = store.tower
    pixels = torch.zeros(store.batch, 3, *tower.image_size)
    tower.encode(pixels)
    started = time.perf_counter()
    tower.encode(pixels)
    return (time.perf_counter() - started) / store.batch


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
