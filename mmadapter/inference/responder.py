"""One adapted model that answers lines of text, with one picture or none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from transformers import TextStreamer

from mmadapter.adapter.parameters import Adaption
from mmadapter.errors import UserError, printable
from mmadapter.inference.generation import generate
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.likelihood import adaption_of, option_log_likelihoods
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.layout import ImageFile
from mmadapter.scienceqa.problems import LETTERS, Dataset, Problem

TEMPERATURE = 0.1
"""Default for instructions, with top-p 0.75, as in the authors' code. Questions are answered greedily, as in the
paper."""


class Responder:
    """Streams a model's answers to stdout."""

    def __init__(
        self,
        model: MultimodalAdapter,
        *,
        image: Path | None = None,
        max_new_tokens: int = 256,
        temperature: float | None = None,
        top_p: float = 0.75,
        seed: int = 0,
        quiet: bool = False,
    ) -> None:
        """
        Args:
            image: the picture that goes with every line.
            temperature: 0 is greedy; None is `TEMPERATURE` for instructions, 0 for questions.
            quiet: do not print each option's likelihood to stderr.

        Raises:
            UserError: an image for a text-only adapter, or a broken one.
        """
        self.model, self.quiet, self.encode = model, quiet, Encoder(model.llm, model.form)
        self.follows = model.form.answer == "response"
        self.max_new_tokens, self.top_p = max_new_tokens, top_p
        self.temperature = (TEMPERATURE if self.follows else 0.0) if temperature is None else temperature
        self._adaption = _adaption(model, image)
        torch.manual_seed(seed)

    @property
    def usage(self) -> str:
        """The form of a line."""
        return "An instruction" if self.follows else "A question | option | option"

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Project prompts and picture once, for every `say` inside."""
        with self.model.prompted(self._adaption):
            yield

    def say(self, line: str, context: str = "") -> str:
        """Print and return the model's answer to a line; for a question also print each option's likelihood.

        Args:
            line: an instruction, or a question and its options with ` | ` between them.
            context: the instruction's input or the question's hint.

        Raises:
            UserError: a question without options, or a prompt that is too long for the model.
        """
        question, choices = line, [""]
        if not self.follows:
            question, *choices = (part.strip() for part in line.split("|"))
            if not 1 <= len(choices) <= len(LETTERS) or not all(choices):
                raise UserError(f"{self.usage}: 1 to {len(LETTERS)} options are needed, not {len(choices)}")
        problem = Problem(pid="asked", split="asked", question=question, choices=tuple(choices), answer=0, hint=context)
        prompt = self.encode.prompt(problem)
        room = self.model.llm.model.config.get_text_config().max_position_embeddings - len(prompt)
        if room < 1:
            raise UserError(f"the prompt has {len(prompt):,} tokens, too many for {self.model.llm.name}")
        (text,) = generate(
            self.model.llm,
            [prompt],
            min(self.max_new_tokens, room),
            temperature=self.temperature,
            top_p=self.top_p,
            streamer=_Printer(self.model.llm.tokenizer),
        )
        if not (self.follows or self.quiet):
            scores = option_log_likelihoods(self.model, self._adaption, self.encode([problem]))[0].softmax(0)
            likely = zip(map(printable, choices), scores.tolist(), strict=True)
            print("by likelihood:", ", ".join(f"{choice} {share:.0%}" for choice, share in likely), file=sys.stderr)
        return text.strip()


def _adaption(model: MultimodalAdapter, image: Path | None) -> Adaption:
    """Return the prompts, gates and image token for one picture or none."""
    problem = Problem(pid="asked", split="asked", question="?", choices=("",), answer=0)
    if model.tower is None:
        if image is not None:
            raise UserError(f"--image {image}: this adapter is text-only: it sees no image")
        return model.adapter()
    images = QuestionImages(torch.zeros(0, sum(model.tower.feature_sizes)), {})
    if image is not None:
        problem = replace(problem, image=ImageFile(image))
        images, _ = question_images(model.tower, Dataset("asked", {"asked": problem}, {}), model.form, quiet=True)
    return adaption_of(model, images, [problem])


class _Printer(TextStreamer):
    """Prints words as they come, without an answer's leading space and, on a terminal, without control characters."""

    def __init__(self, tokenizer: object) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        if sys.stdout.isatty():
            text = "\n".join(map(printable, text.split("\n")))
        print(text, end="\n" if stream_end else "", flush=True)
