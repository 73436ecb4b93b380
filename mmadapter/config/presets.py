"""The presets: named, complete settings."""

from __future__ import annotations

from dataclasses import replace

from mmadapter.config.settings import INSTRUCTION_SETTINGS, INSTRUCTIONS, DatasetName, RunConfig

PRESETS = {
    "tiny": RunConfig(
        preset="tiny",
        llm="tiny-llama",
        clip="tiny-clip",
        answer="text",
        adapter_layers=4,
        projection_hidden=512,
        prompt_std=0.1,
        epochs=18,
        batch_size=16,
        learning_rate=1e-2,
        projection_rate=0.1,
        warmup_epochs=1.0,
        weight_decay=0.1,
        dtype="float32",
    ),
    "small": RunConfig(
        preset="small",
        dataset="scienceqa",
        llm="HuggingFaceTB/SmolLM2-135M-Instruct",
        clip="efficientnet-lite0",
        answer="text",
        adapter_layers=4,
        scales=7,
        projection_hidden=1024,
        components=512,
        prompt_std=0.3,
        epochs=8,
        batch_size=16,
        learning_rate=1e-2,
        projection_rate=0.2,
        warmup_epochs=0.2,
        choice_loss=10.0,
        store_activations=True,
    ),
    "paper": RunConfig(
        preset="paper",
        dataset="scienceqa",
        llm="huggyllama/llama-7b",
        clip="ViT-L-14-quickgelu/openai",
        adapter_layers=30,
        projection_hidden=67,
        dtype="bfloat16",
    ),
}
"""`paper` is arXiv 2303.16199, sections 4.1 and 5.1; the hidden width gives Table 4's trainable parameters."""

PRESET_NEEDS = {
    "tiny": "0.5 GB of tensors; the process held 1.1 GB at its peak; the demo takes five minutes on two cores",
    "small": "2.2 GB of tensors in float32, 1.5 GB in bfloat16 (1.7 GB and 1.3 GB with --checkpointing); the process "
    "held 4.6 GB at its peak, in bfloat16; ScienceQA takes an hour where each variant has a core",
    "paper": "35.3 GB of tensors on a GPU, 16.2 GB with --checkpointing, 6.5 GB with --quantise 4bit as well; it has "
    "never been run",
}
"""Tensors are counted by `training.memory`. Peaks of processes (both variants, two cores, 2026-11) and times are
measured."""

PRESET_DEPTH = {"tiny": 4, "small": 30, "paper": 32}
"""Layers of each preset's language model: with another `--llm`, adapter_layers keeps its share of the depth."""


def preset_config(preset: str | None, dataset: DatasetName | None) -> RunConfig:
    """The preset's settings; without one, `tiny` for the demos and `small` for ScienceQA and Alpaca."""
    config = PRESETS[preset or ("small" if dataset in ("scienceqa", "alpaca") else "tiny")]
    if dataset in INSTRUCTIONS:
        config = replace(config, dataset=dataset, **INSTRUCTION_SETTINGS)
    if dataset == "demo-instructions" and config.preset == "tiny":  # found on its val split
        config = replace(config, epochs=16, learning_rate=6e-2, weight_decay=0.02)
    if dataset == "alpaca":
        # the epochs of section 4.1; 52,002 instructions would be 7 GB of stored activations
        return replace(config, split="val", epochs=5, store_activations=False)
    return replace(config, dataset=dataset) if dataset else config


def adapted_layers(config: RunConfig, depth: int) -> int:
    """L on a language model of `depth` layers: the number asked for, else the preset's share."""
    if config.adapter_layers is not None:
        return config.adapter_layers
    layers = PRESETS[config.preset].adapter_layers
    assert layers is not None  # a preset is complete
    return max(1, round(depth * layers / PRESET_DEPTH[config.preset]))
