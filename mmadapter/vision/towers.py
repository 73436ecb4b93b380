"""Frozen image towers: any CLIP of open_clip or transformers, its image half only.

A name is resolved to a configuration and a weights file; the tower's structure is built without weights (on
torch's meta device), which gives its feature sizes and refuses impossible scales in a fraction of a second;
the weights are hashed, and read only when the first image is encoded: a run that finds every feature in the
store never builds the tower.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.hub import hub_folder
from mmadapter.paths import embedded
from mmadapter.untrusted import check_pickle, short, told
from mmadapter.vision.scales import ClipVisionScales, OpenClipScales

MAX_SIDE = 4096
"""Pixels of an image as a tower takes it; 224 to 512 are usual."""
MAX_LAYERS = 1024
"""Of a tower; the largest have 56."""

FEATURES_VERSION = 1
"""Part of every fingerprint: raise it when the same tower would give other features."""

OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""In order of preference, as open_clip itself names and prefers them in a folder."""

OPEN_CLIP_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""On the hub the other names may be those of the same repository's transformers form."""

PREPROCESS_KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
"""What decides open_clip's preprocessing."""

CLIP_VISION_KEYS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "image_size",
    "intermediate_size",
    "layer_norm_eps",
    "num_attention_heads",
    "num_channels",
    "num_hidden_layers",
    "patch_size",
)
"""What decides the features of transformers' CLIP; the rest of its config is names and versions."""


@dataclass(frozen=True, kw_only=True)
class _Blueprint:
    """A tower that is known but not loaded."""

    skeleton: nn.Module
    """Its structure on the meta device."""
    image_size: tuple[int, int]
    """Height and width that it takes."""
    preprocess: Callable[[Image.Image], Tensor]
    description: Mapping[str, Any]
    """All that decides its features besides the weights: JSON, without names."""
    weights: tuple[Path, ...]
    load: Callable[[], nn.Module]
    """The tower with its weights, float32 on the CPU."""
    features: Callable[[nn.Module, Tensor], list[Tensor]]
    """The global features I_1 .. I_M of images, read from the tower or its skeleton."""


class ImageTower:
    """A frozen image tower and the scales at which it is read. `load_tower` makes one.

    Attributes:
        name: what it was asked for by.
        scales: M, the number of global features.
        image_size: height and width of the images it takes.
        feature_sizes: C_1 .. C_M; their sum is F.
        fingerprint: sha256 (hex) of configuration, preprocessing, scales and the bytes of the weights files:
            the same wherever the tower comes from. The price of knowing it without reading the weights into a
            model is that the same weights in another container (.bin and .safetensors) count as another tower.
        preprocess: a PIL image (RGB) to `Float[Tensor, "3 H W"]`, the tower's own way.
        dtype: of the computation; features are float32 in any case.
    """

    def __init__(self, name: str, blueprint: _Blueprint, scales: int, device: torch.device, dtype: torch.dtype):
        self.name = name
        self.scales = scales
        self.image_size = blueprint.image_size
        self.preprocess = blueprint.preprocess
        self.device = device
        self.dtype = dtype
        self._blueprint = blueprint
        with torch.no_grad():
            features = blueprint.features(blueprint.skeleton, _probe(blueprint.image_size))
        self.feature_sizes = tuple(x.shape[-1] for x in features)
        self.fingerprint = _fingerprint(blueprint, scales)

    @cached_property
    def model(self) -> nn.Module:
        """The tower itself, frozen, on its device: loaded when it is first needed.

        Raises:
            UserError: the weights do not fit the configuration.
        """
        model = self._blueprint.load().eval().requires_grad_(False)
        # convolutions are 1.3 to 2 times faster on a CPU with the channels last
        return model.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """The global features I_1 .. I_M of preprocessed images, raw and concatenated, in float32."""
        images = images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        features = self._blueprint.features(self.model, images)
        return torch.cat(features, dim=-1).float()


def load_tower(
    name: str,
    *,
    scales: int = 4,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ImageTower:
    """The image tower of a CLIP; its text tower is not kept.

    Args:
        name: one of

            - a folder, or `local-dir:FOLDER`, in open_clip's form (`open_clip_config.json`) or in transformers'
              (`config.json` of a CLIP);
            - `hf-hub:ORG/REPO`, open_clip's form on the hub;
            - `ORG/REPO`, transformers' form on the hub;
            - `MODEL/TAG` of `open_clip.list_pretrained()`, such as `ViT-L-14-quickgelu/openai`.
        scales: M; see `mmadapter.vision.scales`.
        device: where it computes.
        dtype: in what.

    Raises:
        UserError: no such tower, no weights, no network, fewer than `scales` scales, or a configuration that
            cannot be used.
    """
    with told(name):
        tower = ImageTower(name, _blueprint(name, scales), scales, torch.device(device), dtype)
        pixels = tower.preprocess(Image.new("RGB", (32, 24)))
        if pixels.shape != (3, *tower.image_size):
            raise ValueError(f"it takes images of {tower.image_size} and prepares {tuple(pixels.shape)}")
    return tower


def _blueprint(name: str, scales: int) -> _Blueprint:
    local = embedded(name) or Path(name.removeprefix("local-dir:")).expanduser()
    if local.is_dir():
        return _from_folder(local, scales)
    if name.startswith(("local-dir:", "/", ".", "~")):
        raise UserError(f"{name}: no such folder; --clip takes a folder, a hub id or an open_clip MODEL/TAG")
    if name.startswith("hf-hub:"):
        repo = name.removeprefix("hf-hub:")
        folder = hub_folder(repo, ["open_clip_config.json"], [[weights] for weights in OPEN_CLIP_HUB_WEIGHTS])
        return _open_clip(f"local-dir:{folder}", _open_clip_weights(folder), {}, scales)
    model, _, tag = name.partition("/")
    if model in import_open_clip().list_models():
        return _from_registry(model, tag, scales)
    if name.count("/") == 1:
        whole, shards = ["model.safetensors"], ["model.safetensors.index.json", "model-*.safetensors"]
        settings = ["config.json", "preprocessor_config.json"]
        return _transformers_clip(hub_folder(name, settings, [whole, shards, ["pytorch_model.bin"]]), scales)
    raise UserError(
        f"{name}: no such image tower\n"
        "  --clip takes a folder, a hub id (ORG/REPO, hf-hub:ORG/REPO) or an open_clip MODEL/TAG "
        "such as ViT-L-14-quickgelu/openai"
    )


def _check_size(where: str, image_size: object, layers: object) -> None:
    """What a configuration claims, before anything is built of it; both may be lists."""
    sides, depths = (value if isinstance(value, (list, tuple)) else [value] for value in (image_size, layers))
    if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise UserError(f"{where}: takes images of {short(image_size)}: a side has 1 to {MAX_SIDE:,} pixels")
    if not all(isinstance(depth, int) for depth in depths) or not 1 <= sum(depths) <= MAX_LAYERS:
        raise UserError(f"{where}: has {short(layers)} layers: at most {MAX_LAYERS:,} are built")


def _from_folder(folder: Path, scales: int) -> _Blueprint:
    if (folder / "open_clip_config.json").is_file():
        return _open_clip(f"local-dir:{folder}", _open_clip_weights(folder), {}, scales)
    if (folder / "config.json").is_file():
        return _transformers_clip(folder, scales)
    raise UserError(f"{folder}: holds no image tower: neither open_clip_config.json nor a CLIP's config.json")


def _from_registry(model: str, tag: str, scales: int) -> _Blueprint:
    """A model that open_clip describes itself, with one of its published sets of weights."""
    open_clip = import_open_clip()
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if not published:
        tags = ", ".join(f"{model}/{known}" for known in open_clip.list_pretrained_tags_by_model(model))
        raise UserError(f"{f'{model}/{tag}'.strip('/')}: which weights? open_clip knows: {tags or 'none'}")
    # open_clip only warns of this one, and the features are then silently wrong (its issues #771, #915, #970)
    if published.get("quick_gelu", False) != bool(open_clip.get_model_config(model).get("quick_gelu")):
        other = model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
        raise UserError(
            f"{model}/{tag}: these weights were trained with another activation (QuickGELU): use {other}/{tag}"
        )
    repo, _, filename = published["hf_hub"].rpartition("/")
    folder = hub_folder(repo, [], [[weights] for weights in ([filename] if filename else OPEN_CLIP_HUB_WEIGHTS)])
    preprocessing = {key: published[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    weights = folder / filename if filename else _open_clip_weights(folder)
    return _open_clip(model, weights, preprocessing, scales)


def _open_clip_weights(folder: Path) -> Path:
    found = [folder / name for name in OPEN_CLIP_WEIGHTS if (folder / name).is_file()]
    if not found:
        raise UserError(f"{folder}: no weights: there must be one of {', '.join(OPEN_CLIP_WEIGHTS)}")
    return found[0]


def _open_clip(name: str, weights: Path, preprocessing: dict[str, Any], scales: int) -> _Blueprint:
    open_clip = import_open_clip()
    vision = open_clip.get_model_config(name)["vision_cfg"]
    _check_size(name, vision.get("image_size", 224), vision.get("layers", 12))

    def build(device: str) -> nn.Module:
        try:
            with _quiet(None):
                return open_clip.create_model(
                    name,
                    load_weights=False,
                    pretrained_text=False,
                    force_preprocess_cfg=preprocessing,
                    device=device,
                ).eval()
        except (KeyError, TypeError, ValueError, RuntimeError, AssertionError, OSError) as error:
            raise UserError(f"{name}: open_clip cannot build this model: {_first_line(error)}") from error

    def load() -> nn.Module:
        model = build("cpu")
        try:
            if weights.suffix not in (".safetensors", ".npz", ".npy"):
                check_pickle(weights)
            open_clip.load_checkpoint(model, str(weights))
        except Exception as error:  # whatever a reader of checkpoints raises: safetensors, pickle, zip, shapes
            raise UserError(f"{weights}: these weights do not fit {name}: {_first_line(error)}") from error
        return model.visual

    with torch.device("meta"):
        model = build("meta")
    config = open_clip.get_model_config(name)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = model.visual.image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    return _Blueprint(
        skeleton=model.visual,
        image_size=size,
        preprocess=open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**preprocess), is_train=False
        ),
        description={
            "library": "open_clip",
            "vision": config["vision_cfg"],
            "embed_dim": config["embed_dim"],
            "quick_gelu": bool(config.get("quick_gelu")),
            "preprocess": {key: preprocess[key] for key in PREPROCESS_KEYS},
        },
        weights=(weights,),
        load=load,
        features=OpenClipScales(model.visual, _probe(size), scales),
    )


def _transformers_clip(folder: Path, scales: int) -> _Blueprint:
    import_open_clip()  # checks torchvision, without which transformers' CLIP cannot be imported either
    from transformers import AutoConfig, CLIPImageProcessor, CLIPVisionModel

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: {_first_line(error)}") from error
    if config.model_type not in ("clip", "clip_vision_model"):
        raise UserError(f"{folder}: a {config.model_type!r} model; an image tower is a clip or a clip_vision_model")
    if not (folder / "preprocessor_config.json").is_file():
        raise UserError(f"{folder}: no preprocessor_config.json: copy it from where the model comes from")
    vision = getattr(config, "vision_config", config)
    _check_size(str(folder), vision.image_size, vision.num_hidden_layers)
    weights = tuple(sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin")))
    if not weights:
        raise UserError(f"{folder}: no weights: there must be a model.safetensors or a pytorch_model.bin")
    processor = CLIPImageProcessor.from_pretrained(folder)

    def load() -> nn.Module:
        try:
            with _quiet("transformers"):
                model, report = CLIPVisionModel.from_pretrained(
                    folder, config=vision, dtype=torch.float32, output_loading_info=True
                )
        except Exception as error:  # as above
            raise UserError(f"{folder}: its weights cannot be read: {_first_line(error)}") from error
        if report["missing_keys"] or report["mismatched_keys"]:
            wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
            raise UserError(f"{folder}: {len(wrong)} weights are missing or of another shape, such as {wrong[0]}")
        return model

    with torch.device("meta"):
        skeleton = CLIPVisionModel(vision).eval()
    return _Blueprint(
        skeleton=skeleton,
        image_size=(vision.image_size, vision.image_size),
        preprocess=lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0],
        description={
            "library": "transformers",
            "vision": {key: getattr(vision, key) for key in CLIP_VISION_KEYS},
            "preprocess": json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8")),
        },
        weights=weights,
        load=load,
        features=ClipVisionScales(vision.num_hidden_layers, scales),
    )


def _probe(image_size: tuple[int, int]) -> Float[Tensor, "1 3 H W"]:
    """An image without values, to run a skeleton on."""
    return torch.empty(1, 3, *image_size, device="meta")


def _fingerprint(blueprint: _Blueprint, scales: int) -> str:
    digests = []
    for path in blueprint.weights:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    description = {
        **blueprint.description,
        "scales": scales,
        "weights": digests,
        "features_version": FEATURES_VERSION,
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def import_open_clip() -> Any:
    """open_clip, or one clear line where torch and torchvision come from different builds.

    Raises:
        UserError: torchvision does not fit torch.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise UserError(
            f"the installed torchvision does not fit torch {torch.__version__} ({_first_line(error)})\n"
            "  install both from the same index: both from PyPI, or both from PyTorch's CPU index"
        ) from error
    import open_clip

    return open_clip


@contextlib.contextmanager
def _quiet(logger: str | None) -> Iterator[None]:
    """Without a library's warnings of what is meant: open_clip's (root logger) that a model without weights is
    random, transformers' that an image tower has no use for the weights of a text tower.

    The handler keeps `logging.warning` from configuring the user's logging.
    """
    quiet, handler = logging.getLogger(logger), logging.NullHandler()
    level = quiet.level
    quiet.addHandler(handler)
    quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        quiet.setLevel(level)
        quiet.removeHandler(handler)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
