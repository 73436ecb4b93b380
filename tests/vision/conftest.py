"""Tiny image towers with random weights, saved in the forms that towers come in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

TEXT = {"context_length": 2, "vocab_size": 3, "width": 2, "heads": 1, "layers": 1}

VIT = {"image_size": 28, "layers": 5, "width": 24, "head_width": 8, "patch_size": 7}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}

SaveOpenClip = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def save_open_clip(tmp_path: Path) -> SaveOpenClip:
    """Saves a random model in open_clip's local-dir form; returns the folder."""

    def save(vision: dict[str, Any], *, seed: int = 0, name: str = "tower", weights_from: Path | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "model_cfg": {"embed_dim": 11, "vision_cfg": vision, "text_cfg": TEXT},
            "preprocess_cfg": PREPROCESSING,
        }
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
        for module in model.modules():  # running statistics that a forgotten eval() would show
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        save_file(
            {key: value.clone() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
        )
        return folder

    return save


@pytest.fixture
def transformers_clip(tmp_path: Path) -> tuple[Path, CLIPModel]:
    """A random CLIP of transformers with its preprocessor, in a folder."""
    torch.manual_seed(0)
    vision = {
        "image_size": 28,
        "patch_size": 7,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 5,
        "num_attention_heads": 3,
    }
    text = {
        "vocab_size": 7,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 5,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=11)).eval()
    folder = tmp_path / "transformers-clip"
    model.save_pretrained(folder)
    settings = {
        "do_resize": True,
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder, model
