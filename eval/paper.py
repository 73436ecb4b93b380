"""The paper's tables, figures and claims: runs what is missing, and writes what all of it says.

    python -m eval.paper                                   # tiny: generated data, under an hour on two cores
    python -m eval.paper --preset small --data-dir DIR     # real ScienceQA, SmolLM2-135M, two cores
    python -m eval.paper --preset paper                    # LLaMA-7B on a GPU

Writes eval/results/PRESET.json, eval/figures/PRESET/ and RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mmadapter.cli.options import program
from mmadapter.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `python -m eval.paper` can be told."""

    preset: Literal["tiny", "small", "paper"] = "tiny"
    """The scale of all runs."""
    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    only: tuple[str, ...] = ()
    """Names of recipes (eval/recipes/); all of them if none."""
    seeds: tuple[int, ...] = ()
    """Instead of the study's own."""
    config: Path | None = None
    """Settings (YAML, as of mmadapter-train) over those of every run."""
    runs: Path = Path("runs/paper")
    """Folder of the run directories; one that is finished there is never trained again."""
    jobs: int = 2
    """Runs at a time; 1 on a GPU."""
    train: bool = True
    """false writes the results of what is finished, and trains nothing."""


def main(settings: Settings) -> None:
    """Runs, then the results file, figures and the page."""
    from eval import results
    from eval.figures import FOLDER, draw
    from eval.page import PAGE, page
    from eval.recipes import RECIPES
    from eval.runs import train_missing

    study = _study(settings)
    if unknown := [name for name in settings.only if name not in RECIPES]:
        raise UserError(f"--only {unknown[0]}: no such recipe: choose {', '.join(RECIPES)}")
    recipes = [RECIPES[name] for name in settings.only or RECIPES]
    folder = settings.runs / settings.preset
    if settings.train:
        train_missing(study, recipes, folder, settings.jobs)
    found = collected(settings, study, folder)
    found.write(results.FOLDER / f"{settings.preset}.json")
    for recipe in RECIPES.values():
        draw(recipe, study, found, FOLDER / settings.preset)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def _study(settings: Settings):
    from eval.study import STUDIES
    from mmadapter.config.files import read_settings

    study = STUDIES[settings.preset]
    changed = read_settings(settings.config) if settings.config else {}
    if settings.data_dir:
        changed["data_dir"] = settings.data_dir
    return replace(study, base=replace(study.base, **changed), seeds=settings.seeds or study.seeds)


def collected(settings: Settings, study, folder: Path):
    """Everything that is finished, of all recipes; what was recorded before and lies here no more stays recorded."""
    from benchmarks.measure import provenance
    from eval.recipes import RECIPES
    from eval.results import FOLDER, Results, taken_again
    from eval.runs import read_questions, read_runs

    path = FOLDER / f"{settings.preset}.json"
    questions, runs = read_questions(study), dict(read_runs(study, RECIPES.values(), folder))
    before = Results.read(path) if path.is_file() else None
    if before is not None and before.questions == questions:
        runs = before.runs | {key: taken_again(before.runs.get(key), run) for key, run in runs.items()}
        if runs == before.runs:
            return before
    about = {"command": f"python -m eval.paper --preset {settings.preset}", **provenance("cpu")}
    return Results(about, questions, runs)


if __name__ == "__main__":
    program(main, Settings)
