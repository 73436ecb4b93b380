"""The paper's tables, figures and claims: train the missing runs and write the page.

    python -m eval.paper                                   # tiny: generated data, under an hour on two cores
    python -m eval.paper --preset small --data-dir DIR     # real ScienceQA, SmolLM2-135M, two cores
    python -m eval.paper --preset paper                    # LLaMA-7B on a GPU

Writes eval/results/PRESET.json, eval/figures/PRESET/ and RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from eval import figures, results
from eval.page import write_page
from eval.recipes import EXHIBITS
from eval.results import Results, updated
from eval.runs import read_questions, read_runs, train_missing
from eval.study import STUDIES, Study
from mmadapter.cli.options import program
from mmadapter.config.files import read_settings
from mmadapter.errors import UserError
from mmadapter.runs.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `python -m eval.paper`."""

    preset: Literal["tiny", "small", "paper"] = "tiny"
    """The scale of all runs."""
    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    only: tuple[str, ...] = ()
    """Names of exhibits (eval/recipes/). Default: all."""
    seeds: tuple[int, ...] = ()
    """Seeds. Default: the study's."""
    config: Path | None = None
    """Settings for every run, a YAML file as for mmadapter-train."""
    runs: Path = Path("runs/paper")
    """Folder of the runs. A finished run there is not trained again."""
    jobs: int = 2
    """Runs at a time; 1 on a GPU."""
    train: bool = True
    """Train the missing runs. Without, only the results of finished runs are written."""


def main(settings: Settings) -> None:
    """Train the missing runs and write the results file, the figures and the page."""
    study = _study(settings)
    if unknown := [name for name in settings.only if name not in EXHIBITS]:
        raise UserError(f"--only {unknown[0]}: no such exhibit: choose {', '.join(EXHIBITS)}")
    folder = settings.runs / settings.preset
    if settings.train:
        train_missing(study, [EXHIBITS[name] for name in settings.only or EXHIBITS], folder, settings.jobs)
    found = collected(settings, study, folder)
    found.write(results.FOLDER / f"{settings.preset}.json")
    for exhibit in EXHIBITS.values():
        figures.draw(exhibit, study, found, figures.FOLDER / settings.preset)
    write_page()


def _study(settings: Settings) -> Study:
    study = STUDIES[settings.preset]
    changed = read_settings(settings.config) if settings.config else {}
    if settings.data_dir:
        changed["data_dir"] = settings.data_dir
    return replace(study, base=replace(study.base, **changed), seeds=settings.seeds or study.seeds)


def collected(settings: Settings, study: Study, folder: Path) -> Results:
    """Return the finished runs of all exhibits, and those recorded before that are no longer in the folder."""
    path = results.FOLDER / f"{settings.preset}.json"
    questions, runs = read_questions(study), read_runs(study, EXHIBITS.values(), folder)
    before = Results.read(path) if path.is_file() else None
    if before is not None and all(before.questions[split].same(asked) for split, asked in questions.items()):
        runs = before.runs | {key: updated(before.runs.get(key), run) for key, run in runs.items()}
        if runs == before.runs:
            return replace(before, questions=questions)
    return Results({"command": f"python -m eval.paper --preset {settings.preset}", **provenance()}, questions, runs)


if __name__ == "__main__":
    program(main, Settings)
