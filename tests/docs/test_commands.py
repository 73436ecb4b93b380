"""Every command in the README and in docs/: each one parses, and all that can run here do run, on a few problems."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest
import torch
from PIL import Image

import mmadapter as mma
from eval.demo import write_demo
from mmadapter.cli import convert, errors, generate, train
from mmadapter.cli import eval as evaluate
from mmadapter.cli.common import command_parser, parse
from mmadapter.cli.options import add_options, values_of
from mmadapter.errors import UserError
from tests.docs.pages import INSTALLING, PAGES, ROOT, blocks, commands

PARSED_ONLY = [*PAGES, "CONTRIBUTING.md", "benchmarks/README.md"]
COMMANDS = {module.NAME: module for module in (train, evaluate, errors, generate, convert)}

NOT_HERE = {
    "python -m mmadapter.backbone.smollm2": "downloads 100 MB; tests/backbone/test_smollm2.py runs it on a local index",
    "mmadapter-train --dataset scienceqa --data-dir DIR --resplit wording --output-dir runs/wording": "deals out the "
    "real ScienceQA's ids; tests/scienceqa/test_resplit.py",
    "torchrun --nproc-per-node 2 --no-python mmadapter-train --dataset demo --output-dir runs/two": "tests/experiment/",
    "torchrun --nproc-per-node 2 --no-python mmadapter-eval runs/two --split val": "tests/experiment/",
}
"""Parsed, not run: by whom else, or why not."""
SMALL = "--limit 12 --epochs 1 --preset tiny --llm tiny-llama --clip tiny-clip --quiet"
"""After a training's own arguments, the last of which count."""


def inline(page: str) -> list[str]:
    """Whole commands within the text."""
    spans = re.findall(r"`((?:mmadapter-\w+|make|pip|python) [^`]+)`", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in spans if "..." not in span]


def check(command: str) -> None:
    """Parse a command as its program does; an unknown one fails.

    Raises:
        UserError: an argument is wrong.
    """
    first, *rest = shlex.split(command)
    if first == "torchrun":
        first, *rest = rest[rest.index("--no-python") + 1 :]
    if first == "mmadapter-train":
        train._configuration(vars(parse(train._parser(), [arg for arg in rest if not _missing_run(rest, arg)])))
    elif first in COMMANDS:
        _settings(COMMANDS[first].Settings, rest)
    elif command.startswith("python -m ") and rest[1].startswith(("benchmarks.", "eval.", "tests.docs.")):
        (settings, *_) = get_type_hints(importlib.import_module(rest[1]).main).values()
        _settings(settings, rest[2:])
    elif first == "make":
        subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)
    elif first == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"(?:mmadapter|\.)\[(\w+)\]", command)) <= set(extras)
    else:
        known = (".venv/bin/python -m pytest", "cmp runs/", "python -m tests.house", "python -m mmadapter.backbone")
        assert command in INSTALLING or command.startswith(known), f"nothing runs or checks: {command}"


def _settings(settings, argv):
    add_options(parser := command_parser("command", ""), settings, defaults=True)
    return settings(**values_of(settings, vars(parse(parser, argv))))


def _missing_run(argv, arg):
    """A file of settings that only the run before would leave."""
    at = argv.index(arg)
    return arg in ("--resume", "--config") or (at and argv[at - 1] == "--config")


@pytest.mark.parametrize("page", PARSED_ONLY)
def test_every_command_parses(page):
    for command in [*commands(page), *inline(page)]:
        check(command)


def test_no_command_is_excused_that_no_page_has():
    assert {*NOT_HERE, *INSTALLING} <= {command for page in PAGES for command in commands(page)}


def test_unknown_commands_and_arguments_fail():
    for command in ("mmadapter-training", "mmadapter-eval --intervalls runs/demo", "make nothing", "curl example.org"):
        with pytest.raises((UserError, AssertionError, subprocess.CalledProcessError)):
            check(command)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the README's commands have been run, with the files that other pages name."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMADAPTER_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        data = write_demo("DIR", sizes={"train": 40, "val": 12, "test": 12})
        pids = json.loads((data / "pid_splits.json").read_text())["test"]
        Path("predictions.json").write_text(json.dumps({"results": dict.fromkeys(pids, 0)}))
        lines = (json.dumps({"question_id": pid, "text": "The answer is (A)."}) for pid in pids)
        Path("answers.jsonl").write_text("\n".join(lines))
        Image.new("RGB", (64, 64), "white").save("map.png")
        run(commands("README.md"))
        pd.read_parquet("runs/demo/text/predictions.parquet")[["pid", "prediction"]].to_csv("predictions.csv")
    return folder


def run(lines: list[str]) -> None:
    for line in lines:
        if line in NOT_HERE or line in INSTALLING or not line.startswith("mmadapter-"):
            continue
        name, *argv = shlex.split(line.replace("huggyllama/llama-7b", "tiny-llama"))
        if name == "mmadapter-train" and "--print-config" not in argv:
            argv += shlex.split(SMALL)
        assert COMMANDS[name].main(argv) == 0, line


def test_the_readme(place):
    assert (place / "runs" / "demo" / "report.html").is_file()
    assert (place / "errors.parquet").is_file()


def test_the_readmes_python(place, monkeypatch):
    monkeypatch.chdir(place)
    (code,) = blocks("README.md", "python")
    exec(code.replace("epochs=18", "epochs=1"), {})
    assert (place / "adapter" / "adapter.safetensors").is_file()


def test_the_python_of_several_adapters(place, monkeypatch):
    monkeypatch.chdir(place)
    code = blocks("docs/how-to/share.md", "python")[1].replace("ORG/NAME", "runs/demo/text")
    width = sum(mma.MultimodalAdapter.from_pretrained("runs/demo/multimodal").adapter.config.feature_sizes)
    given = {"features": torch.zeros(1, width), "has_image": torch.tensor([True])}
    given |= {"input_ids": torch.ones(2, 3, dtype=torch.int64), "read": (torch.arange(2), torch.full((2,), 2))}
    exec(code, shown := {"mma": mma, **given})
    assert len(shown["logits"]) == 2


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "RESULTS.md", "CHANGELOG.md"])
def test_every_link_from_the_root_leads_somewhere(page):
    """The site's build checks those between its pages."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_front_door_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if commands(page)])
def test_the_commands_of_a_page(page, place, tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_CACHE", str(place / "cache"))
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path / "place")
    if page == "docs/tutorial.md":
        shutil.rmtree("runs/demo")
    run(commands(page))
