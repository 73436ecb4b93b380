"""From a configuration to a run's folder (`runs.folder`): data, features, training, answers, table.

A run that is killed goes on where it was; everything it computed is in the feature store or in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from accelerate import PartialState

from mmadapter.backbone.device import resolve_device, resolve_dtype, use_deterministic_algorithms
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.placement import load_placed
from mmadapter.backbone.sharding import check_processes
from mmadapter.config.files import config_yaml, differences
from mmadapter.config.presets import adapted_layers
from mmadapter.config.settings import INSTRUCTIONS, InputFormat, Recipe, RunConfig, Variant
from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.grid import Grid, format_grid
from mmadapter.evaluation.predictions import GENERATED_RULE, LIKELIHOOD, Predictions
from mmadapter.evaluation.render import render
from mmadapter.evaluation.responses import responses_grid, score_responses
from mmadapter.evaluation.table import ResultTable, result_table
from mmadapter.experiment.run_card import model_card
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.predict import predict
from mmadapter.inference.prompt_attention import prompt_attention_of, write_prompt_attention
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.folder import RunFolder, VariantFolder
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import check_room, write_text
from mmadapter.storage.locks import sole_writer
from mmadapter.training.checkpoint import checkpoint_bytes
from mmadapter.training.log import EpochRecord
from mmadapter.training.loop import train
from mmadapter.training.memory import check_memory
from mmadapter.training.validation import validate
from mmadapter.vision.towers import load_tower

VARIANTS: dict[Variant, tuple[Variant, ...]] = {
    "both": ("multimodal", "text"),
    "multimodal": ("multimodal",),
    "text": ("text",),
}


def run_experiment(config: RunConfig, *, resume: bool = False, quiet: bool = False) -> ResultTable | Grid | None:
    """Train and test the variants of `config`, leaving everything in `config.output_dir`.

    In several processes, as `accelerate launch` or torchrun start them, all train and answer; the first one writes.

    Returns:
        The table over the tested split; for the demo with the ceiling as its last row. Of instructions another one,
        with the frozen model first. None in the other processes.

    Raises:
        UserError: something the user gave cannot be used. Nothing finished is lost.
        Interrupted: Ctrl-C or SIGTERM; the same configuration with `resume` goes on.
    """
    run = RunFolder(config.folder)
    if config.deterministic:
        use_deterministic_algorithms()
    device = resolve_device(config.device)
    first = PartialState(cpu=device.type == "cpu").is_main_process
    if first:
        _check_unused(run, resume)
    check_processes(config.shard)
    check_memory(config, device)
    data = load_dataset(config.dataset, config.data_dir or None, on_error=config.on_error).first(config.limit)
    data = data.first(config.train_limit, "train")
    data[config.split]  # an unknown split is told before hours are spent
    llm = load_placed(
        config.llm,
        device,
        resolve_dtype(config.dtype, device),
        quantise=config.quantise,
        compile_layers=config.compile,
        sharded=config.shard,
        offloaded=config.offload,
    )
    config = replace(config, adapter_layers=adapted_layers(config, len(llm.layers)))
    models = {variant: build_model(config, llm, variant) for variant in VARIANTS[config.variant]}
    if first:
        check_room(run.path, sum(checkpoint_bytes(model.adapter) for model in models.values()), "its checkpoints")
    with sole_writer(run.path) if first else nullcontext():
        if first:
            _check_unused(run, resume)  # another run may just have begun there
        return _run(config, llm, models, data, first=first, quiet=quiet or not first)


def _check_unused(run: RunFolder, resume: bool) -> None:
    if run.config_file.exists() and not resume:
        raise UserError(f"{run.path}: holds a run already: --resume goes on with it, --output-dir names another folder")


def _run(
    config: RunConfig,
    llm: LanguageModel,
    models: dict[Variant, MultimodalAdapter],
    data: Dataset,
    *,
    first: bool,
    quiet: bool,
) -> ResultTable | Grid | None:
    """All of a run that takes time, in its folder; what a resumed run finds there it goes on from."""
    run, images = RunFolder(config.folder), None
    towers = [model.tower for model in models.values() if model.tower is not None]
    if towers:  # that of the multimodal variant
        form = config.part(InputFormat)
        images, data = question_images(towers[0], data, form, on_error=config.on_error, quiet=quiet)

    settings = run.config_file
    variants = {name: replace(config, variant=name) for name in models}
    if first:
        if settings.exists() and (other := differences(settings, config)):
            raise UserError(f"{settings}: cannot resume: this run has another {', '.join(other)}")
        write_text(settings, config_yaml(config))
        for name, own in variants.items():
            write_text(run.variant(name).config_file, config_yaml(own))
    epochs = {name: _train(own, models[name], data, images, quiet) for name, own in variants.items()}
    if config.dataset in INSTRUCTIONS:
        return _test_instructions(config, models["text"], data, epochs["text"], first=first, quiet=quiet)
    systems = [
        _test(own, models[name], data, images, epochs[name], first=first, quiet=quiet) for name, own in variants.items()
    ]
    if config.dataset == "demo":
        systems.append(_ceiling(llm, data[config.split], config.part(InputFormat), run.ceiling, quiet))
    if not first:
        return None
    table = result_table(systems, question_frame(data[config.split]), title=_title(config, data))
    write_text(run.table, render(table, "json"))
    write_text(run.card, f"# {run.path.name}\n\n{render(table, 'markdown')}")
    return table


def build_model(config: RunConfig, llm: LanguageModel, variant: Variant) -> MultimodalAdapter:
    """The variant's model before training, on the shared language model."""
    tower = None
    if variant == "multimodal":
        tower = load_tower(config.clip, scales=config.scales, device=llm.model.device)
    return MultimodalAdapter.build(
        llm,
        tower,
        adapter_len=config.adapter_len,
        adapter_layers=adapted_layers(config, len(llm.layers)),
        projection_hidden=config.projection_hidden,
        components=config.components,
        prompt_std=config.prompt_std,
        attention=config.attention,
        seed=config.seed,
        form=config.part(InputFormat),
    )


def _train(
    config: RunConfig, model: MultimodalAdapter, data: Dataset, images: QuestionImages | None, quiet: bool
) -> list[EpochRecord]:
    """Train one variant, in its folder."""
    return train(
        model,
        data,
        config.part(Recipe),
        images=images,
        folder=_variant(config).path,
        resume=True,
        tensorboard=config.tensorboard,
        quiet=quiet,
    )


def _test(
    config: RunConfig,
    model: MultimodalAdapter,
    data: Dataset,
    images: QuestionImages | None,
    epochs: Sequence[EpochRecord],
    *,
    first: bool,
    quiet: bool,
) -> Predictions:
    """Test one variant; the first process writes what is left of its folder."""
    folder, asked = _variant(config), data[config.split]
    file = folder.answers().predictions
    store = config.store_activations
    answers = predict(
        model, asked, scoring=config.scoring, images=images, file=file, store_activations=store, quiet=quiet
    )
    rule = LIKELIHOOD if config.scoring == "likelihood" else GENERATED_RULE[config.answer]
    system = Predictions(config.variant, answers, rule, str(file))
    # all processes measure, the same, for a sharded model
    measured = prompt_attention_of(model, asked, images=images) if config.attention == "zero-init" else None
    if not first:
        return system
    if measured is not None:  # the other kind has no gates, and no output of its own
        write_prompt_attention(measured, folder.prompt_attention)
    table = result_table([system], question_frame(asked), title=_title(config, data))
    results = json.loads(render(table, "json")), render(table, "markdown")
    _write_results(config, model, data, epochs, results, int(answers["truncated"].sum()))
    return system


def _test_instructions(
    config: RunConfig,
    model: MultimodalAdapter,
    data: Dataset,
    epochs: Sequence[EpochRecord],
    *,
    first: bool,
    quiet: bool,
) -> Grid | None:
    """Test the adapter beside the frozen model; the first process writes what is left of the run's folders."""
    run, asked = RunFolder(config.folder), data[config.split]
    frozen = MultimodalAdapter.build(model.llm, None, adapter_layers=1, form=model.form)  # its gate is 0
    questions = Encoder(model.llm, model.form)(asked)
    rows = []
    for name, each, file in (
        ("frozen", frozen, run.frozen),
        ("adapter", model, run.variant("text").answers().predictions),
    ):
        answers = predict(each, asked, scoring="generate", file=file, title=f"answering, {name}", quiet=quiet)
        loss, _ = validate(each, None, questions)
        assert loss is not None, "a split that is tested is not empty"
        rows.append(score_responses(name, loss, answers, asked))
    if not first:
        return None
    table, record = responses_grid(rows, _title(config, data)), [asdict(row) for row in rows]
    truncated = sum(question.truncated for question in questions)
    _write_results(config, model, data, epochs, (record, format_grid(table, "markdown")), truncated)
    write_text(run.table, json.dumps(record, indent=2) + "\n")
    write_text(run.card, f"# {run.path.name}\n\n{format_grid(table, 'markdown')}")
    return table


def _write_results(
    config: RunConfig,
    model: MultimodalAdapter,
    data: Dataset,
    epochs: Sequence[EpochRecord],
    table: tuple[object, str],
    truncated: int,
) -> None:
    """A variant's `metrics.json` and `README.md`.

    Args:
        table: as JSON holds it, and in Markdown.
        truncated: prompts that lost a part of their hint.
    """
    folder = _variant(config)
    metrics = {
        "table": table[0],
        "epochs": [asdict(epoch) for epoch in epochs],
        "trainable_parameters": sum(parameter.numel() for parameter in model.adapter.parameters()),
        "truncated_prompts": truncated,
        "skipped_problems": [asdict(skipped) for skipped in data.skipped],
    }
    write_text(folder.metrics, json.dumps(metrics, indent=2) + "\n")
    write_text(folder.card, model_card(config, model, table[1], len(data.skipped)))


def _variant(config: RunConfig) -> VariantFolder:
    return RunFolder(config.folder).variant(config.variant)


def _title(config: RunConfig, data: Dataset) -> str:
    """Of a table: whose questions, and how many of them were left out."""
    skipped = len(data[config.split].skipped)
    return f"{config.dataset} {config.split}" + (f", {skipped} skipped" if skipped else "")


def _ceiling(llm: LanguageModel, data: Dataset, form: InputFormat, file: Path, quiet: bool) -> Predictions:
    """What the frozen model answers where the true caption stands in the hint: no adapter can carry more."""
    frozen = MultimodalAdapter.build(llm, None, adapter_layers=1, form=form)  # its gate is 0
    told = {pid: replace(p, hint=" ".join(filter(None, (p.caption, p.hint)))) for pid, p in data.problems.items()}
    answers = predict(frozen, replace(data, problems=told), file=file, title="answering, ceiling", quiet=quiet)
    return Predictions("ceiling", answers, LIKELIHOOD, "the frozen model, the true caption in the hint")
