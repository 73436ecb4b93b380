"""The pages that hold commands. A fenced block without a language holds them; what they print stands in `text`."""

import re
import shlex
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
INSTALLING = ["python3 -m venv .venv", ". .venv/bin/activate", "pip install ."]
"""`make test-install` runs these."""


def blocks(page: str, language: str = "") -> list[str]:
    """Return the fenced blocks of a page in one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def commands(page: str) -> list[str]:
    """Return the commands of a page in order, without comments."""
    lines = chain.from_iterable(block.splitlines() for block in blocks(page))
    return [line for line in (shlex.join(shlex.split(line, comments=True)) for line in lines) if line]
