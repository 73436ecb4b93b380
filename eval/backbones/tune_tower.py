"""Train an image tower further, contrastively, on the pictures of ScienceQA's train split and their captions.

    python eval/backbones/tune_tower.py --data-dir DIR --output FOLDER
    mmadapter-train --clip FOLDER ...

The tower starts from its weights, and its batch norms keep their statistics. A small text tower starts from scratch and
is dropped at the end. ScienceQA's captions come from a model that had seen few diagrams ("A large white kite is in the
air."), so val decides whether this training helps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import open_clip
import torch
from contrastive import Batch, caption_tokens, clip_tokenizer, text_tower, trained
from open_clip import CLIP
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from mmadapter.data import load_dataset
from mmadapter.scienceqa.problems import Problem
from mmadapter.storage.files import write_text
from mmadapter.vision.images import decode_rgb
from mmadapter.vision.towers import ImageTower, load_tower

ASSETS = Path(__file__).parents[2] / "assets"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
BATCH = 64
PEAK, TOWER_SHARE = 1e-3, 0.1
"""Learning rate of the text tower, and the image tower's share of it."""


def captioned_problems(data_dir: list[Path]) -> list[Problem]:
    """Return the training problems with a picture and a caption."""
    return [p for p in load_dataset("scienceqa", data_dir)["train"] if p.image is not None and p.caption]


def batches(problems: list[Problem], tower: ImageTower, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Yield batches epoch after epoch, each in another order."""
    order = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.randperm(len(problems), generator=order).split(BATCH):
            batch = [problems[row] for row in rows]
            captions = [str(p.caption) for p in batch]
            images = [tower.preprocess(decode_rgb(p.image.read(), p.image.where)) for p in batch if p.image]
            yield torch.stack(images), caption_tokens(tokenizer, captions), captions


def started(folder: Path, tokenizer: PreTrainedTokenizerFast) -> CLIP:
    """Return the image tower of an open_clip folder, with its weights, and a new text tower."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    torch.manual_seed(0)
    model = CLIP(**config | {"text_cfg": text_tower(tokenizer)})
    own = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if name.startswith("visual.")}
    model.visual.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in own.items()})
    model.visual.eval()  # batch norms keep their statistics
    return model


def save(model: CLIP, start: Path, folder: Path) -> None:
    """Write `start` with the image tower of `model`, in the same form and precision."""
    tensors, now = load_file(start / WEIGHTS), model.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("visual."):
            tensors[name] = now[name].to(tensor.dtype).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, (start / CONFIG).read_text(encoding="utf-8"))
    save_file(tensors, folder / WEIGHTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", type=Path, default=ASSETS / "efficientnet-lite0", help="folder in open_clip's form")
    parser.add_argument("--data-dir", type=Path, nargs="+", required=True, help="folders of ScienceQA")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, help="folder for the tower")
    args = parser.parse_args()

    tokenizer, tower = clip_tokenizer(ASSETS / "tiny-llama"), load_tower(str(args.tower), scales=1)
    problems = captioned_problems(args.data_dir)
    model, start = started(args.tower, tokenizer), time.monotonic()
    steps = args.epochs * -(-len(problems) // BATCH)
    for step, loss in trained(model, batches(problems, tower, tokenizer), steps, PEAK, TOWER_SHARE):
        if step % 10 == 0:
            left = (time.monotonic() - start) / step * (steps - step) / 60
            print(f"step {step} of {steps}, {left:.0f} minutes left: loss {loss:.3f}", file=sys.stderr, flush=True)
    save(model, args.tower, args.output)
    print(f"{args.output}: {len(problems):,} pictures, {args.epochs} epochs, loss {loss:.3f}")


if __name__ == "__main__":
    # open_clip reports every file it opens
    open_clip.factory.logging.disable()
    main()
