"""docs/tutorial.ipynb runs from top to bottom in a kernel of its own, and is committed without what it showed."""

import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def test_is_committed_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert not [cell["id"] for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count")]


def test_runs_from_data_to_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_PROBLEMS", "24")
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {cell["id"]: cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"}
    assert "multimodal" in shown["table"][-1]["data"]["text/html"]
    assert "both" in shown["outcome"][-1]["data"]["text/html"]
    assert (tmp_path / "adapter" / "adapter.safetensors").is_file()
