"""Run a whole configuration: data, features, training, answers, table, all left in the run's folder.

A run that is killed goes on where it was: everything it computed lies in the feature store or in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

from accelerate import PartialState

from mmadapter.backbone.device import resolve_device, resolve_dtype
from mmadapter.backbone.loading import load_llm
from mmadapter.backbone.threads import use_threads
from mmadapter.config.files import config_yaml, differences
from mmadapter.config.settings import INSTRUCTIONS, InputFormat, Recipe, RunConfig, Variant
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.grid import Grid, format_grid
from mmadapter.evaluation.predictions import GENERATED_RULE, LIKELIHOOD, Predictions
from mmadapter.evaluation.render import render
from mmadapter.evaluation.responses import responses_grid, score_responses
from mmadapter.evaluation.table import ResultTable, result_table
from mmadapter.experiment.plan import make_plan
from mmadapter.experiment.prepare import build_model, prepare
from mmadapter.experiment.run_card import run_card
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.predict import predict
from mmadapter.inference.prompt_attention import prompt_attention_of, write_prompt_attention
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.collect import question_title
from mmadapter.runs.folder import RunFolder, VariantFolder
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import write_text
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.progress import say, status
from mmadapter.training.log import EpochRecord
from mmadapter.training.loop import train
from mmadapter.training.validation import validate


@dataclass(frozen=True, kw_only=True)
class _VariantRun:
    """One variant in training and test. All processes compute, the first one writes."""

    config: RunConfig
    """The run's, with this variant alone."""
    model: MultimodalAdapter
    data: Dataset
    images: QuestionImages | None
    first: bool
    quiet: bool

    @property
    def folder(self) -> VariantFolder:
        return RunFolder(self.config.folder).variant(self.config.variant)

    @property
    def asked(self) -> Dataset:
        return self.data[self.config.split]

    def train(self) -> list[EpochRecord]:
        return train(
            self.model,
            self.data,
            self.config.part(Recipe),
            images=self.images,
            folder=self.folder.path,
            resume=True,
            track=self.config.track,
            quiet=self.quiet,
        )

    def test(self, epochs: Sequence[EpochRecord]) -> Predictions:
        """Answer the tested split, and write what is left of the variant's folder."""
        config, file = self.config, self.folder.answers().predictions
        answers = predict(
            self.model,
            self.asked,
            scoring=config.scoring,
            images=self.images,
            file=file,
            store_activations=config.store_activations,
            title=f"answering, {config.variant}",
            quiet=self.quiet,
        )
        rule = LIKELIHOOD if config.scoring == "likelihood" else GENERATED_RULE[config.answer]
        system = Predictions(config.variant, answers, rule, str(file))
        measured = None
        if config.attention == "zero-init":  # the other kind has no gates, and no output of its own
            measured = prompt_attention_of(self.model, self.asked, images=self.images)  # a sharded model needs all
        if self.first:
            if measured is not None:
                write_prompt_attention(measured, self.folder.prompt_attention)
            table = result_table([system], question_frame(self.asked), title=_title(config, self.data))
            results = json.loads(render(table, "json")), render(table, "markdown")
            self.write_results(epochs, *results, truncated=int(answers["truncated"].sum()))
        return system

    def write_results(self, epochs: Sequence[EpochRecord], record: object, markdown: str, *, truncated: int) -> None:
        """Write `metrics.json` and the card.

        Args:
            record, markdown: the variant's table in both forms.
            truncated: number of prompts that lost a part of their hint.
        """
        metrics = {
            "table": record,
            "epochs": [asdict(epoch) for epoch in epochs],
            "trainable_parameters": sum(parameter.numel() for parameter in self.model.adapter.parameters()),
            "truncated_prompts": truncated,
            "skipped_problems": [asdict(skipped) for skipped in self.data.skipped],
        }
        write_text(self.folder.metrics, json.dumps(metrics, indent=2) + "\n")
        write_text(self.folder.card, run_card(self.config, self.model, markdown, len(self.data.skipped)))


def run_experiment(config: RunConfig, *, resume: bool = False, quiet: bool = False) -> ResultTable | Grid | None:
    """Train and test the variants of `config`, leaving everything in `config.folder`.

    Under `accelerate launch` or torchrun all processes train and answer; the first one writes.

    Returns:
        The table of the tested split, for the demo with the ceiling as its last row; for instructions another table,
        with the frozen model first. None in all processes but the first.

    Raises:
        UserError: something the user gave cannot be used. Nothing finished is lost.
        Interrupted: Ctrl-C or SIGTERM; the same configuration with `resume` goes on.
    """
    run = RunFolder(config.folder)
    device = resolve_device(config.device)
    first = PartialState(cpu=device.type == "cpu").is_main_process
    quiet = quiet or not first
    if first:
        _check_unused(run, resume)
    prepared = prepare(config, resume=resume)
    config = prepared.config
    if not quiet:
        say(f"threads: {prepared.threads}" if resume else str(make_plan(prepared)))
    with use_threads(prepared.threads):
        with status(f"loading {config.llm}", quiet=quiet, lasting=True):
            llm = load_llm(
                config.llm,
                device=device,
                dtype=resolve_dtype(config.dtype, device),
                quantise=config.quantise,
                compile_layers=config.compile,
                sharded=config.shard,
                offloaded=config.offload,
            )
        models = {variant: build_model(config, llm, tower) for variant, tower in prepared.towers.items()}
        with sole_writer(run.path) if first else nullcontext():
            if first:
                _check_unused(run, resume)  # another run may just have begun there
            return _run(config, models, prepared.data, first=first, quiet=quiet)


def _check_unused(run: RunFolder, resume: bool) -> None:
    if run.config_file.exists() and not resume:
        raise UserError(f"{run.path}: holds a run already: --resume goes on with it, --output-dir names another folder")


def _run(
    config: RunConfig, models: dict[Variant, MultimodalAdapter], data: Dataset, *, first: bool, quiet: bool
) -> ResultTable | Grid | None:
    """Do the work that takes time, from wherever an earlier run in this folder stopped."""
    run, images = RunFolder(config.folder), None
    if (tower := models[next(iter(models))].tower) is not None:  # the multimodal variant comes first
        form = config.part(InputFormat)
        images, data = question_images(tower, data, form, on_error=config.on_error, quiet=quiet)
    variants = [
        _VariantRun(
            config=replace(config, variant=name), model=model, data=data, images=images, first=first, quiet=quiet
        )
        for name, model in models.items()
    ]
    if first:
        if run.config_file.exists() and (other := differences(run.config_file, config)):
            raise UserError(f"{run.config_file}: cannot resume: this run has another {', '.join(other)}")
        write_text(run.config_file, config_yaml(config))
        for variant in variants:
            write_text(variant.folder.config_file, config_yaml(variant.config))
    epochs = [variant.train() for variant in variants]
    if config.dataset in INSTRUCTIONS:
        return _test_instructions(variants[0], epochs[0])
    systems = [variant.test(records) for variant, records in zip(variants, epochs, strict=True)]
    if config.dataset == "demo":
        systems.append(_ceiling(variants[0]))
    if not first:
        return None
    table = result_table(systems, question_frame(data[config.split]), title=_title(config, data))
    write_text(run.table, render(table, "json"))
    write_text(run.card, f"# {run.path.name}\n\n{render(table, 'markdown')}")
    return table


def _test_instructions(variant: _VariantRun, epochs: Sequence[EpochRecord]) -> Grid | None:
    """Test the adapter beside the frozen model, and write what is left of the run's folders."""
    run, model, asked = variant.folder.run, variant.model, variant.asked
    questions = Encoder(model.llm, model.form)(asked)
    rows = []
    for name, each, file in (
        ("frozen", _frozen(model), run.frozen),
        ("adapter", model, variant.folder.answers().predictions),
    ):
        title = f"answering, {name}"
        answers = predict(each, asked, scoring="generate", file=file, title=title, quiet=variant.quiet)
        loss, _ = validate(each, None, questions)
        assert loss is not None, "a split that is tested is not empty"
        rows.append(score_responses(name, loss, answers, asked))
    if not variant.first:
        return None
    table, record = responses_grid(rows, _title(variant.config, variant.data)), [asdict(row) for row in rows]
    markdown = format_grid(table, "markdown")
    variant.write_results(epochs, record, markdown, truncated=sum(question.truncated for question in questions))
    write_text(run.table, json.dumps(record, indent=2) + "\n")
    write_text(run.card, f"# {run.path.name}\n\n{markdown}")
    return table


def _ceiling(variant: _VariantRun) -> Predictions:
    """Answers of the frozen model with the true caption in the hint: no adapter can carry more."""
    captioned = {
        pid: replace(problem, hint=" ".join(filter(None, (problem.caption, problem.hint))))
        for pid, problem in variant.asked.problems.items()
    }
    data, file = replace(variant.asked, problems=captioned), variant.folder.run.ceiling
    answers = predict(_frozen(variant.model), data, file=file, title="answering, ceiling", quiet=variant.quiet)
    return Predictions("ceiling", answers, LIKELIHOOD, "the frozen model, the true caption in the hint")


def _frozen(model: MultimodalAdapter) -> MultimodalAdapter:
    """The frozen model itself: an adapter whose gate is 0."""
    return MultimodalAdapter.build(model.llm, None, adapter_layers=1, form=model.form)


def _title(config: RunConfig, data: Dataset) -> str:
    return question_title(data[config.split], config.split, config.resplit, config.limit)
