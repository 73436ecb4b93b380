"""RESULTS.md: the prose of `page.md.jinja` around the tables, figures and verdicts of every results file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from eval.figures import FOLDER as FIGURES
from eval.recipes import RECIPES
from eval.results import FOLDER as RESULTS
from eval.results import Results
from eval.study import STUDIES
from eval.tables import TABLES, choices_table, compared, efficiency_tables, readout_tables, sentence

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "RESULTS.md"
TEMPLATE = Path(__file__).parent / "page.md.jinja"


def page() -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    rendered = template.render(
        section=section, about=about, verdicts=verdicts, efficiency=efficiency, readout=readout, choices=choices
    )
    return re.sub(r"\n{3,}", "\n\n", rendered)  # of what was not run


def _results(preset: str) -> Results | None:
    path = RESULTS / f"{preset}.json"
    return Results.read(path) if path.is_file() else None


def about(preset: str) -> str:
    """What was run, with which command, on which machine, and for how long."""
    results = _results(preset)
    if results is None:
        return f"*Not run yet: `python -m eval.paper --preset {preset}`.*"
    told, hours = results.about, sum(run.seconds for run in results.runs.values()) / 3600
    versions = ", ".join(f"{name} {found}" for name, found in told["versions"].items())
    return (
        f"{STUDIES[preset].about}\n\n"
        f"`{told['command']}`, {_made(told)}: {len(results.runs)} runs, {hours:.1f} hours of "
        f"training, summed over runs, two of which share the machine. {versions}."
    )


def _made(about: dict) -> str:
    """When, of which commit and on which machine."""
    machine = about["machine"]
    gpu = f", {machine['GPU']}" if machine.get("GPU") else ""
    return f"{about['date']}, commit {about['commit']}, {machine['processor']}, {machine['logical cores']} cores{gpu}"


def verdicts(preset: str) -> str:
    """Each claim of the paper, and whether this study agrees."""
    results = _results(preset)
    if results is None:
        return ""
    study = STUDIES[preset]
    return "\n".join(
        sentence(claim, recipe, study, results)
        for recipe in RECIPES.values()
        if compared(recipe, study, results)
        for claim in recipe.claims
    )


def section(preset: str, name: str) -> str:
    """A recipe's question, table and figure."""
    results, study, recipe = _results(preset), STUDIES[preset], RECIPES[name]
    if results is None or not compared(recipe, study, results):
        return ""
    parts = [f"### {recipe.title}", recipe.asks]
    parts.append(TABLES[recipe.figure](recipe, study, results))
    figure = FIGURES / preset / f"{name}.svg"
    if figure.is_file():
        parts.append(f"![{recipe.title}]({figure.relative_to(ROOT)})")
    return "\n\n".join(parts) + "\n"


def efficiency() -> str:
    """Table 3."""
    return _recorded("efficiency", "python -m eval.efficiency", efficiency_tables, lambda record: [record])


def readout() -> str:
    """What the image features hold, beside what the adapters of the small preset make of them."""

    def tables(record: dict) -> str:
        return readout_tables(record, RECIPES["table2"], STUDIES["small"], Results.read(RESULTS / "small.json"))

    return _recorded("readout", "python -m eval.readout --data-dir DIR", tables, lambda record: [record["about"]])


def choices() -> str:
    """What was tried before the settings of the small preset were taken."""
    command = "python -m eval.choose --data-dir DIR --config YAML"
    return _recorded("choices", command, choices_table, lambda record: [own["about"] for own in record.values()])


def _recorded(name: str, command: str, tables: Callable[[dict], str], abouts: Callable[[dict], list[dict]]) -> str:
    """A results file's tables, under the command that wrote it, and when."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return f"*Not run yet: `{command}`.*"
    record = json.loads(path.read_text(encoding="utf-8"))
    made = dict.fromkeys(_made(about) for about in abouts(record))
    return f"`{command}`, {'; '.join(made)}.\n\n{tables(record)}"
