"""A run in miniature: backbones with random weights on disk, questions that only the picture answers."""

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from mmadapter.config.settings import RunConfig
from mmadapter.experiment.run import run_experiment
from tests.scienceqa.conftest import raw_record, write_layout_folder
from tests.tiny import byte_tokenizer, tiny_llama

SIZES = {"train": 48, "val": 12, "test": 41}
COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}
VISION = {"image_size": 28, "layers": 3, "width": 24, "head_width": 8, "patch_size": 14}
TEXT = {"context_length": 2, "vocab_size": 3, "width": 2, "heads": 1, "layers": 1}
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def write_colours(folder: Path, *, seed: int = 0) -> Path:
    """What colour is it? Two of three questions show it, no two pictures are equal; the others say it."""
    rng = random.Random(seed)
    records, pictures = {}, {}
    for split, size in SIZES.items():
        for number in range(size):
            pid = str(len(records) + 1)
            choices = rng.sample(sorted(COLOURS), 2)
            answer = rng.randrange(2)
            records[pid] = raw_record(
                split=split,
                question="Colour?",
                choices=choices,
                answer=answer,
                hint="" if number % 3 else f"It is {choices[answer]}.",
                image="image.png" if number % 3 else None,
                category=("Day", "Night")[number % 2],
            )
            if number % 3:
                buffer = io.BytesIO()
                picture = Image.new("RGB", (28, 28), COLOURS[choices[answer]])
                picture.putpixel((number % 28, len(records) % 28), (0, 255, 0))
                picture.save(buffer, "PNG")
                pictures[f"{split}/{pid}/image.png"] = buffer.getvalue()
    return write_layout_folder(folder, records, pictures=pictures)


def write_backbones(folder: Path) -> tuple[Path, Path]:
    """A LLaMA and a CLIP with random weights, each in its folder."""
    llm, clip = folder / "llm", folder / "clip"
    tiny_llama().save_pretrained(llm)
    byte_tokenizer().save_pretrained(llm)
    clip.mkdir()
    config = {
        "model_cfg": {"embed_dim": 11, "vision_cfg": VISION, "text_cfg": TEXT},
        "preprocess_cfg": PREPROCESSING,
    }
    (clip / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{clip}", load_weights=False)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, clip / "open_clip_model.safetensors")
    return llm, clip


def colour_config(folder: Path, epochs: int) -> RunConfig:
    """Settings of a run on the colours, whose data and backbones are written into `folder`."""
    llm, clip = write_backbones(folder)
    return RunConfig(
        dataset="scienceqa",
        data_dir=(write_colours(folder / "data"),),
        llm=str(llm),
        clip=str(clip),
        adapter_len=3,
        adapter_layers=3,
        scales=2,
        projection_hidden=16,
        prompt_std=0.3,
        answer="text",  # a frozen model without any skill binds no option to its letter
        epochs=epochs,
        batch_size=12,
        learning_rate=0.1,
        warmup_epochs=1.0,
        device="cpu",
        dtype="float32",
    )


def colour_run(folder: Path) -> Path:
    """Both variants trained on the colours for seconds; the multimodal one learns to see them."""
    run_experiment(replace(colour_config(folder, epochs=24), output_dir=folder / "run"), quiet=True)
    return folder / "run"
