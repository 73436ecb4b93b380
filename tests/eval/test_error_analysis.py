"""The notebook runs from top to bottom, and is committed without what it showed."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch

NOTEBOOK = Path(__file__).parents[2] / "eval" / "error_analysis.ipynb"


@pytest.fixture
def cells():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return notebook["cells"]


def executed(cells) -> dict[str, object]:
    """What each code cell shows, by its id: run as a kernel would, one after the other in one namespace."""
    namespace, shown = {"__name__": "__main__"}, {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"]))
        last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
        exec(compile(body, cell["id"], "exec"), namespace)
        if last is not None:
            shown[cell["id"]] = eval(compile(ast.Expression(last.value), cell["id"], "eval"), namespace)
    return shown


def test_is_committed_without_outputs(cells):
    assert not [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_analyses_a_run(cells, colour_run, tmp_path, monkeypatch):
    run = shutil.copytree(colour_run, tmp_path / "run")
    monkeypatch.setenv("MMADAPTER_RUN", str(run))
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shown = executed(cells)
    finally:
        torch.set_num_threads(threads)
    assert shown["table"].loc["multimodal", "IMG"] == 100
    assert shown["paired"].loc[True, "only multimodal"] > 0
    assert shown["look"].loc["shuffled", "accuracy"] < 75
    assert (shown["look-blind"]["changed"].dropna() == 0).all()
    assert shown["helps"]["difference"].gt(0).all()
    assert shown["worst"]["n"].sum() == 41
    assert shown["seen"]["n"].sum() == 41
    assert shown["calibration"]["n"].sum() == 41
