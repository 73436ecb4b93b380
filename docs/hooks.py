"""Fills the pages of the site from what lies elsewhere: files of the repository, settings, the notebook, formulas."""

import html
import json
import os
import re
from argparse import SUPPRESS, Action
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from mmadapter.cli import train
from mmadapter.cli.common import command_parser
from mmadapter.cli.options import add_options
from mmadapter.config.presets import PRESETS

ROOT = Path(__file__).parent.parent
COMMANDS = ("train", "eval", "errors", "generate", "convert")
HOME = {"RESULTS.md": "results.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"} | {
    "SECURITY.md": "explanation/security.md",
    "README.md": "index.md",
    "docs/tutorial.ipynb": "notebook.md",
}
"""Where files of the repository stand in the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the results' figures and the notebook's page."""
    for figure in (ROOT / "eval" / "figures").rglob("*.svg"):
        files.append(File.generated(config, figure.relative_to(ROOT).as_posix(), abs_src_path=str(figure)))
    files.append(File.generated(config, "notebook.md", content="\n\n".join(_cells(ROOT / "docs" / "tutorial.ipynb"))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put a file of the repository where a page is only a link to it, and tables of settings at their marks."""
    if whole := re.fullmatch(r"\[[\w.]+\]\((?:\.\./)+(\w+\.md)\)\s*", markdown):
        markdown = _relinked((ROOT / whole[1]).read_text(encoding="utf-8"), page.file.src_uri, files)
    return markdown.replace("<!-- commands -->", _commands()).replace("<!-- settings -->", _settings())


def on_page_content(content: str, **_: Any) -> str:
    """Set formulas as MathML, which browsers show without a script."""

    def mathml(found: re.Match[str]) -> str:
        formula = convert(html.unescape(found[2]), display="block" if found[1] == "[" else "inline")
        assert "\\" not in formula, f"not understood by latex2mathml: {found[2]}"
        return formula

    return re.sub(r'<(?:div|span) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:div|span)>', mathml, content, flags=re.S)


def _relinked(markdown: str, place: str, files: Files) -> str:
    """Turn links from the repository's root to the site's pages; a link to what the site lacks loses its address."""

    def turned(found: re.Match[str]) -> str:
        target = HOME.get(found[2], found[2].removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            return found[1].strip("[]") if not found[1].startswith("!") else found[0]
        return f"{found[1]}({os.path.relpath(target, os.path.dirname(place) or '.')}{found[3] or ''})"

    return re.sub(r"(!?\[[^\]]*\])\(([\w./-]+)(#[\w-]+)?\)", turned, markdown)


def _cells(path: Path) -> Iterator[str]:
    first, *rest = json.loads(path.read_text(encoding="utf-8"))["cells"]
    yield "".join(first["source"]) + f" [Download the notebook]({path.name})."
    for cell in rest:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"


def _commands() -> str:
    parts = []
    for name in COMMANDS:
        module = import_module(f"mmadapter.cli.{name}")
        parser = command_parser(module.NAME, "")
        add_options(parser, module.Settings, defaults=True)
        more = "\n\nAnd every [setting](settings.md) as a flag." if name == "train" else ""
        about = getattr(module, "ABOUT", None) or module._parser().description
        parts += [f"## {module.NAME}\n\n{' '.join(about.split())}{more}\n\n{_table(parser._actions)}"]
    return "\n\n".join(parts)


def _settings() -> str:
    groups = {group.title: group._group_actions for group in train._parser()._action_groups}
    return "\n\n".join(f"## {title.capitalize()}\n\n{_table(groups[title], PRESETS)}" for title in train.GROUPS)


def _table(actions: Iterable[Action], presets: Mapping[str, object] = {}) -> str:
    lines = [["argument", *presets, "what it does"], ["---"] * (len(presets) + 2)]
    for action in actions:
        if action.help in (None, SUPPRESS) or action.dest in ("help", "version"):
            continue
        name = action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
        values = "|".join(map(str, action.choices)) if action.choices else action.metavar if action.nargs != 0 else None
        flag = f"{name} {values}" if values and values != name else name
        given = [_shown(getattr(preset, action.dest)) for preset in presets.values()]
        lines.append([_code(flag), *given, " ".join(str(action.help).split())])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return _code("yes" if value else "no")
    return "" if value in (None, ()) else _code(str(value))


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;<wbr>')}</code>"
