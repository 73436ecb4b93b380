"""Train the embedded tiny CLIP contrastively on fresh demo pictures and their captions.

    python eval/backbones/train_tiny_clip.py --tokenizer assets/tiny-llama --output assets/tiny-clip

No picture is seen twice, and none of the demo's val and test splits (seeds 0 to 4). A batch holds a few
families, each many times: to tell a picture's caption from those of its own family, the tower has to see what
the question will be about. Equal captions in a batch are each other's positives.

At the end a linear probe of the tower's features (class tokens at four depths) is fitted to the demo's train
pictures and measured on its test pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import open_clip
import torch
from fresh import fresh_problems
from jaxtyping import Float
from open_clip import CLIP
from PIL import Image
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax
from torchvision.transforms.functional import to_tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mmadapter.demo import FAMILIES, DemoProblem, demo_problems, draw
from mmadapter.vision.towers import load_tower

PICTURES = [family for family in FAMILIES if family.context == "image"]
GROUPS, GROUP = 4, 32
"""Families in a batch, and pictures of each."""
CONTEXT = 40
"""Tokens of a caption, at most."""


def model_config(tokenizer: PreTrainedTokenizerFast) -> dict:
    """open_clip's configuration of the towers."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 6, "width": 128, "head_width": 32},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer),
            "hf_tokenizer_name": "tiny-clip",  # the folder's own: open_clip replaces the name by the folder
            "width": 64,
            "heads": 4,
            "layers": 3,
            "pool_type": "eos",
            "eos_id": tokenizer.eos_token_id,
            "pad_id": tokenizer.pad_token_id,
        },
    }


PREPROCESSING = {
    "size": [64, 64],
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "longest",  # a wide map keeps its edges
    "fill_color": 255,
}


def clip_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tiny LLaMA's tokenizer, closing each caption with an end token, which the text tower reads."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)],
    )
    return tokenizer


def pixels(picture: Image.Image) -> Float[Tensor, "3 64 64"]:
    """A picture as `PREPROCESSING` has it."""
    return to_tensor(picture.resize((64, 64), Image.Resampling.BICUBIC)) * 2 - 1


def batches(rng: Random) -> Iterator[tuple[Float[Tensor, "B 3 64 64"], list[str]]]:
    """Pictures and captions without end: `GROUP` of each of `GROUPS` families."""
    streams = {family.name: fresh_problems(rng, [family]) for family in PICTURES}
    while True:
        problems = [next(streams[family.name]) for family in rng.sample(PICTURES, GROUPS) for _ in range(GROUP)]
        yield torch.stack([pixels(draw(p.scene)) for p in problems]), [p.caption for p in problems]


def contrastive_loss(
    image: Float[Tensor, "B C"], text: Float[Tensor, "B C"], scale: Tensor, captions: list[str]
) -> Tensor:
    """CLIP's symmetric loss, with equal captions sharing the target."""
    logits = scale * image @ text.T
    same = torch.tensor([[float(a == b) for a in captions] for b in captions])
    targets = same / same.sum(dim=1, keepdim=True)
    rows, columns = -(targets * log_softmax(logits, 1)).sum(1), -(targets * log_softmax(logits, 0)).sum(0)
    return (rows.mean() + columns.mean()) / 2


def save(model: CLIP, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write open_clip's local-dir form, weights in float16."""
    tokenizer.save_pretrained(folder)
    config = {"model_cfg": model_config(tokenizer), "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def probe_accuracy(folder: Path) -> dict[str, float]:
    """How often a linear probe reads the right answer's text off the features, by family: train to test."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tiny LLaMA")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--peak", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1, help="on a machine that others use, 1 is fastest")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = clip_tokenizer(args.tokenizer)
    model = CLIP(**model_config(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", file=sys.stderr)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.peak, betas=(0.9, 0.98), weight_decay=0.05)
    stream, start = batches(Random(args.seed + 2000)), time.monotonic()
    for step in range(1, args.steps + 1):
        rate = args.peak * min(step / 50, 0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, captions = next(stream)
        tokens = tokenizer(
            captions, max_length=CONTEXT, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        image, text, scale = model(images, tokens)[:3]
        loss = contrastive_loss(image, text, scale, captions)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.logit_scale.data.clamp_(0, math.log(100))
        if step % 20 == 0:
            seconds = time.monotonic() - start
            left = seconds / step * (args.steps - step)
            print(f"step {step}: loss {loss.item():.3f}, {seconds:.0f} s, {left:.0f} s left", file=sys.stderr)
        if step % 200 == 0 or step == args.steps:
            save(model, tokenizer, args.output)
            accuracy = probe_accuracy(args.output)
            print("  probe: " + ", ".join(f"{name} {100 * v:.0f}" for name, v in accuracy.items()), file=sys.stderr)


if __name__ == "__main__":
    # open_clip reports every file it opens
    open_clip.factory.logging.disable()
    main()
