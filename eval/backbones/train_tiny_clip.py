"""Train the embedded tiny CLIP contrastively on fresh demo pictures and their captions.

    python eval/backbones/train_tiny_clip.py --tokenizer assets/tiny-llama --output assets/tiny-clip

The image tower has 2,105,018 weights. One thread on one of two busy cores takes 22 minutes. A linear probe of its
features (all four scales), fitted on the demo's train split, finds the correct answer's text on its test split, in
percent: magnets, punnett square, food chain, rainfall, leaf shape and provinces 100, thermometer and moon phase 98,
solutions and venn diagram 97, farthest north 88 (the hard family). The weights are those of the last step, but the
recipe was chosen with such probes. The embedded weights come from an earlier form of this script; this one gives the
same losses to the last digit in the first twenty steps.

The image tower is open_clip's ResNet with one block a stage, at 64 pixels a side. Every family has a pool of 700
pictures, none from the demo's val and test splits (seeds 0 to 4). A batch holds a few families, each many times: to
match a picture with its caption, the tower has to see what the question will be about. Equal captions in a batch are
each other's positives.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import open_clip
import torch
from contrastive import Batch, caption_tokens, clip_tokenizer, text_tower, trained
from fresh import fresh_problems
from jaxtyping import Int, UInt8
from open_clip import CLIP
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import to_tensor
from transformers import PreTrainedTokenizerFast

from eval.demo import FAMILIES, DemoProblem, Family, demo_problems, draw
from mmadapter.vision.towers import load_tower

PICTURES = [family for family in FAMILIES if family.context == "image"]
POOL = 700
"""Pictures of each family."""
POOL_SEED, PICTURE_SEED, BATCH_SEED = 5000, 1, 7
GROUPS, GROUP = 3, 32
"""Families in a batch, and pictures of each."""
SIDE = 64
"""Pixels."""
STEPS, PEAK = 2400, 2e-3
"""Steps, and the peak of the learning rate."""
PROBE_EVERY = 400

PREPROCESSING = {
    "size": [SIDE, SIDE],
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "longest",  # a wide map keeps its edges
    "fill_color": 255,
}


class Pool(NamedTuple):
    """The pictures of a family, with their captions."""

    pixels: UInt8[Tensor, "N 3 64 64"]
    captions: list[str]
    tokens: Int[Tensor, "N 40"]


def model_config(tokenizer: PreTrainedTokenizerFast) -> dict:
    """open_clip's configuration of the towers: 2.1 million weights for pictures, 0.2 million for captions."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 20, "image_size": SIDE, "head_width": 32},
        "text_cfg": text_tower(tokenizer),
    }


def pixels(picture: Image.Image) -> UInt8[Tensor, "3 64 64"]:
    """Resize a picture (the demo's are square) as `PREPROCESSING` does before normalisation."""
    small = to_tensor(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) * 2 - 1
    return ((small + 1) * 127.5).round().to(torch.uint8)


def picture_pool(family: Family, tokenizer: PreTrainedTokenizerFast, seed: int) -> Pool:
    """Draw fresh pictures of a family."""
    stream = fresh_problems(Random(seed), [family])
    problems = [next(stream) for _ in range(POOL)]
    captions = [problem.caption for problem in problems]
    pictures = torch.stack([pixels(draw(problem.scene)) for problem in problems])
    return Pool(pictures, captions, caption_tokens(tokenizer, captions))


def batches(pools: dict[str, Pool]) -> Iterator[Batch]:
    """Yield pictures, shifted by up to a pixel, and captions without end: `GROUP` of each of `GROUPS` families."""
    rng, order = Random(BATCH_SEED), torch.Generator().manual_seed(PICTURE_SEED)
    while True:
        images, tokens, captions = [], [], []
        for family in rng.sample(PICTURES, GROUPS):
            pool = pools[family.name]
            chosen = torch.randint(0, POOL, (GROUP,), generator=order)
            images.append(pool.pixels[chosen])
            tokens.append(pool.tokens[chosen])
            captions += [pool.captions[i] for i in chosen]
        right, down = rng.randint(-1, 1), rng.randint(-1, 1)
        yield torch.roll(torch.cat(images).float() / 127.5 - 1, (down, right), (2, 3)), torch.cat(tokens), captions


def save(model: CLIP, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write open_clip's local-dir form, weights in float16."""
    tokenizer.save_pretrained(folder)
    config = {"model_cfg": model_config(tokenizer), "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = model.state_dict()
    weights = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in state.items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def probe_accuracy(folder: Path) -> dict[str, float]:
    """Return a linear probe's accuracy by family, from the features to the answer's text, train to test."""
    tower, splits = load_tower(str(folder)), demo_problems()

    def features(problems: list[DemoProblem]) -> Tensor:
        images = [tower.preprocess(draw(p.scene)) for p in problems]
        return torch.cat([tower.encode(torch.stack(images[i : i + 64])) for i in range(0, len(images), 64)])

    accuracy = {}
    for family in PICTURES:
        parts = {name: [p for p in splits[name] if p.family is family] for name in ("train", "test")}
        x = {name: features(problems) for name, problems in parts.items()}
        right = [p.choices[p.answer] for p in parts["train"]]
        names = sorted(set(right))
        mean, std = x["train"].mean(0), x["train"].std(0) + 1e-6
        x = {name: (value - mean) / std for name, value in x.items()}
        y = {
            name: torch.tensor([names.index(p.choices[p.answer]) for p in problems]) for name, problems in parts.items()
        }
        weight = torch.zeros(x["train"].shape[1] + 1, len(names), requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=200)

        def loss(weight=weight, optimizer=optimizer, x=x["train"], y=y["train"]) -> Tensor:
            optimizer.zero_grad()
            value = cross_entropy(x @ weight[:-1] + weight[-1], y) + 1e-3 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        predicted = (x["test"] @ weight[:-1] + weight[-1]).argmax(1)
        accuracy[family.name] = (predicted == y["test"]).float().mean().item()
    return accuracy


def train(model: CLIP, tokenizer: PreTrainedTokenizerFast, pools: dict[str, Pool], folder: Path) -> None:
    """Train a model and save it; report losses and probes on stderr."""
    start = time.monotonic()
    for step, loss in trained(model, batches(pools), STEPS, PEAK):
        if step % 50 == 0:
            print(f"step {step} of {STEPS}, {time.monotonic() - start:.0f} s: loss {loss:.3f}", file=sys.stderr)
        if step % PROBE_EVERY == 0 or step == STEPS:
            save(model, tokenizer, folder)
            accuracy = probe_accuracy(folder)
            print("  probe: " + ", ".join(f"{name} {100 * v:.0f}" for name, v in accuracy.items()), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tiny LLaMA")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    args = parser.parse_args()

    torch.set_num_threads(1)  # more threads add in another order, and the run is another
    tokenizer = clip_tokenizer(args.tokenizer)
    pools = {f.name: picture_pool(f, tokenizer, POOL_SEED + number) for number, f in enumerate(PICTURES)}
    torch.manual_seed(0)
    train(CLIP(**model_config(tokenizer)), tokenizer, pools, args.output)


if __name__ == "__main__":
    # open_clip reports every file it opens
    open_clip.factory.logging.disable()
    main()
