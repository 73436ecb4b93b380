"""RESULTS.md: the prose of `page.md.jinja` around the tables, figures and verdicts of all results files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from eval.figures import FOLDER as FIGURES
from eval.recipes import EXHIBITS
from eval.results import FOLDER as RESULTS
from eval.results import Results
from eval.study import STUDIES
from eval.tables import (
    TABLES,
    accuracy_of,
    choices_table,
    compared,
    coverage_table,
    difference_of,
    efficiency_tables,
    gain_over_baseline,
    published,
    verdict_lines,
    with_interval,
    written_accuracy,
)
from mmadapter.evaluation.baselines import CHANCE
from mmadapter.storage.files import write_text

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "RESULTS.md"
TEMPLATE = Path(__file__).parent / "page.md.jinja"


def write_page() -> None:
    """Write RESULTS.md and print its path."""
    write_text(PAGE, page())
    print(PAGE)


def page() -> str:
    """Return the whole page."""
    from jinja2 import Environment, StrictUndefined

    _results.cache_clear()
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    parts = (section, about, verdicts, efficiency, coverage, choices, accuracy, chance, gain, over_baseline, paper)
    rendered = template.render({part.__name__: part for part in parts})
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", rendered))  # left by exhibits without runs


@cache
def _results(preset: str) -> Results | None:
    path = RESULTS / f"{preset}.json"
    return Results.read(path) if path.is_file() else None


def about(preset: str) -> str:
    """The data and models of a study, its command, machine and training time."""
    results = _results(preset)
    if results is None:
        return f"*Not run yet: `python -m eval.paper --preset {preset}`.*"
    made, hours = results.about, sum(run.seconds for run in results.runs.values()) / 3600
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        f"{STUDIES[preset].about}\n\n"
        f"`{made['command']}`, {_made(made)}: {len(results.runs)} runs, {hours:.1f} hours of training in total, two "
        f"runs at a time on one machine. {versions}."
    )


def _made(about: dict) -> str:
    """The date, the commit and the machine."""
    machine = about["machine"]
    gpu = f", {machine['GPU']}" if machine.get("GPU") else ""
    return f"{about['date']}, commit {about['commit']}, {machine['processor']}, {machine['logical cores']} cores{gpu}"


def verdicts(preset: str) -> str:
    """The claims, and whether a study agrees with each."""
    results, study = _results(preset), STUDIES[preset]
    if results is None:
        return ""
    shown = [exhibit for exhibit in EXHIBITS.values() if compared(exhibit, study, results)]
    return verdict_lines(shown, study, results)


def section(preset: str, name: str) -> str:
    """An exhibit's question, table and figure."""
    results, study, exhibit = _results(preset), STUDIES[preset], EXHIBITS[name]
    if results is None or not compared(exhibit, study, results):
        return ""
    parts = [f"### {exhibit.title}", exhibit.about, TABLES[exhibit.figure](exhibit, study, results)]
    figure = FIGURES / preset / f"{name}.svg"
    if figure.is_file():
        parts.append(f"![{exhibit.title}]({figure.relative_to(ROOT)})")
    return "\n\n".join(parts) + "\n"


def accuracy(preset: str, name: str, arm: int, column: str, split: str = "test", *, written: bool = False) -> str:
    """The accuracy of one arm of an exhibit, for the prose."""
    if (results := _results(preset)) is None:
        return "?"
    score, study = written_accuracy if written else accuracy_of, STUDIES[preset]
    return f"{score(EXHIBITS[name].arms(study)[arm], study, results, split, column).mean:.2f}"


def chance(preset: str, column: str) -> str:
    """The accuracy of uniform choice on test, for the prose."""
    if (results := _results(preset)) is None:
        return "?"
    return f"{100 * results.credit(CHANCE, 'test', column).mean():.2f}"


def gain(preset: str, name: str, column: str) -> str:
    """The difference of the first two arms of an exhibit on test, for the prose."""
    if (results := _results(preset)) is None:
        return "?"
    first, second, *_ = EXHIBITS[name].arms(STUDIES[preset])
    return f"{difference_of(first, second, STUDIES[preset], results, 'test', column).mean:.2f}"


def over_baseline(preset: str, name: str, arm: int, column: str) -> str:
    """The gain of one arm of an exhibit over the best baseline on test, for the prose."""
    if (results := _results(preset)) is None:
        return "?"
    best, found = gain_over_baseline(EXHIBITS[name].arms(STUDIES[preset])[arm], STUDIES[preset], results, column)
    return f"{with_interval(found, signed=True)} points over the {best}"


def paper(system: str, column: str) -> str:
    """A number of the paper."""
    return published()[system][column]


def efficiency() -> str:
    """Table 3."""
    return _recorded("efficiency", "python -m eval.efficiency", efficiency_tables, lambda record: [record])


def coverage() -> str:
    """The coverage of the intervals in simulations."""
    return _recorded("coverage", "python -m eval.coverage", coverage_table, lambda record: [record["about"]])


def choices() -> str:
    """The settings that were compared before those of the small preset were chosen."""
    command = "python -m eval.choose --data-dir DIR --config YAML"
    return _recorded("choices", command, choices_table, lambda record: [found["about"] for found in record.values()])


def _recorded(name: str, command: str, tables: Callable[[dict], str], abouts: Callable[[dict], list[dict]]) -> str:
    """The tables of a results file, below its command and provenance."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return f"*Not run yet: `{command}`.*"
    record = json.loads(path.read_text(encoding="utf-8"))
    made = dict.fromkeys(_made(about) for about in abouts(record))
    return f"`{command}`, {'; '.join(made)}.\n\n{tables(record)}"
