"""What is looked at before a weight of the language model is loaded: data, memory, disk, threads, sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mmadapter.backbone.device import resolve_device, use_deterministic_algorithms
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_skeleton
from mmadapter.backbone.placement import check_processes
from mmadapter.backbone.threads import Threads, choose_threads
from mmadapter.config.files import read_settings
from mmadapter.config.presets import adapted_layers
from mmadapter.config.settings import InputFormat, RunConfig, Variant
from mmadapter.data import load_dataset
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.folder import RunFolder
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import check_room
from mmadapter.storage.processes import from_first
from mmadapter.training.checkpoint import checkpoint_bytes
from mmadapter.training.memory import Memory, check_memory
from mmadapter.training.tracking import check_tracker
from mmadapter.vision.towers import ImageTower, load_tower

VARIANTS: dict[Variant, tuple[Variant, ...]] = {
    "both": ("multimodal", "text"),
    "multimodal": ("multimodal",),
    "text": ("text",),
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that can begin."""

    config: RunConfig
    """With the numbers of adapted layers and threads."""
    device: torch.device
    threads: Threads
    data: Dataset
    skeleton: LanguageModel
    """Without weights."""
    tower: ImageTower | None
    """Whose weights are not loaded yet; None if no variant sees images."""
    adapters: dict[Variant, int]
    """Trainable parameters of each variant."""
    memory: Memory
    checkpoints: int
    """Bytes."""

    @property
    def towers(self) -> dict[Variant, ImageTower | None]:
        """The image tower of each variant."""
        return {name: self.tower if name == "multimodal" else None for name in VARIANTS[self.config.variant]}


def prepare(config: RunConfig, *, resume: bool = False) -> Prepared:
    """Check that a run can begin.

    Of the language model only configuration and tokenizer are read or downloaded; of the image tower the weights too.

    Raises:
        UserError: something the user gave cannot be used, or is more than this machine has room for.
    """
    if config.deterministic:
        use_deterministic_algorithms()
    device = resolve_device(config.device)
    check_processes(config.shard)
    check_tracker(config.track)
    data = load_dataset(config.dataset, config.data_dir or None, on_error=config.on_error, resplit=config.resplit)
    data = data.first(config.limit).first(config.train_limit, "train")
    data[config.split]  # reject an unknown split before hours are spent
    memory, skeleton = check_memory(config, device), load_skeleton(config.llm)
    config = replace(config, adapter_layers=adapted_layers(config, len(skeleton.layers)))
    threads = from_first(lambda: _threads(config, device, skeleton, resume))
    if device.type == "cpu":
        config = replace(config, threads=threads.number)
    tower = None
    if config.variant != "text":
        tower = load_tower(config.clip, scales=config.scales, device=device)
    parameters, checkpoints = {}, 0
    for name in VARIANTS[config.variant]:
        adapter = build_model(config, skeleton, tower if name == "multimodal" else None).adapter
        parameters[name] = sum(parameter.numel() for parameter in adapter.parameters())
        checkpoints += checkpoint_bytes(adapter)
    check_room(config.folder, checkpoints, "its checkpoints")
    return Prepared(
        config=config,
        device=device,
        threads=threads,
        data=data,
        skeleton=skeleton,
        tower=tower,
        adapters=parameters,
        memory=memory,
        checkpoints=checkpoints,
    )


def build_model(config: RunConfig, llm: LanguageModel, tower: ImageTower | None) -> MultimodalAdapter:
    """Build a variant's model before training, on the shared language model; without a tower it is text-only."""
    return MultimodalAdapter.build(
        llm,
        tower,
        adapter_len=config.adapter_len,
        adapter_layers=adapted_layers(config, len(llm.layers)),
        projection_hidden=config.projection_hidden,
        components=config.components,
        prompt_std=config.prompt_std,
        attention=config.attention,
        seed=config.seed,
        form=config.part(InputFormat),
    )


def _threads(config: RunConfig, device: torch.device, llm: LanguageModel, resume: bool) -> Threads:
    """Return the number that the settings name, or that the run began with, or a new choice."""
    file = RunFolder(config.folder).config_file
    asked = config.threads
    if asked is None and resume and file.exists():
        asked = read_settings(file).get("threads")
    if asked is not None:
        return Threads(asked, "as the run began; --threads changes it" if resume else "as set")
    if device.type != "cpu":
        return Threads(torch.get_num_threads(), "the model is elsewhere")
    return choose_threads(llm.model.config)
