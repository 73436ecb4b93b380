"""Loading from a hub that speaks the real one's protocol, with the real client: what is fetched, and what is told."""

import json

import pytest
import torch

from mmadapter.backbone.loading import load_llm
from mmadapter.cli.train import main
from mmadapter.errors import UserError
from mmadapter.storage.hub import hub_folder
from tests.hub_server import client_of, hub_server
from tests.tiny import byte_tokenizer, tiny_llama
from tests.trained_runs import write_colours

FORMS = [["model.safetensors"], ["model.safetensors.index.json", "model-*.safetensors"], ["pytorch_model.bin"]]


@pytest.fixture
def hub(tmp_path):
    with hub_server() as hub, client_of(hub, tmp_path / "cache"):
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    tiny_llama().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_model_is_downloaded_once_and_then_read_without_a_request(hub, folder):
    hub.put("org/llama", folder)
    expected = tiny_llama().state_dict()
    assert all(torch.equal(w, expected[name]) for name, w in load_llm("org/llama").model.state_dict().items())
    commit = hub.repositories["org/llama"].commit
    hub.requests.clear()
    assert load_llm("org/llama").name == "org/llama"
    assert load_llm(f"org/llama@{commit}").name.endswith(commit)
    assert hub.requests == []
    assert load_llm("org/llama@main").fingerprint == load_llm(str(folder)).fingerprint


def test_only_what_is_needed_is_downloaded(hub):
    content = {"config.json": b"{}", "model.safetensors": b"1", "pytorch_model.bin": b"2", "flax_model.msgpack": b"3"}
    hub.put("org/model", content)
    folder = hub_folder("org/model", ["config.json"], FORMS)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert hub_folder("org/model", ["config.json"], []) == folder
    assert not [request for request in hub.requests if "flax" in request or "pytorch" in request]


def test_the_next_form_of_the_weights(hub):
    hub.put("org/model", {"config.json": b"{}", "pytorch_model.bin": b"2"})
    assert (hub_folder("org/model", ["config.json"], FORMS) / "pytorch_model.bin").is_file()


def test_a_download_that_was_interrupted_between_shards_goes_on(hub):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    shards = {"model-1.safetensors": b"1", "model-2.safetensors": b"2"}
    hub.put("org/model", {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(), **shards})
    folder = hub_folder("org/model", ["config.json"], FORMS)
    (folder / "model-2.safetensors").unlink()
    assert (hub_folder("org/model", ["config.json"], FORMS) / "model-2.safetensors").is_file()


def test_a_commit_of_its_own_is_read_as_it_was(hub, folder):
    hub.put("org/llama", folder)
    commit = hub.repositories["org/llama"].commit
    load_llm("org/llama")
    hub.repositories["org/llama"].files["config.json"] += b" "
    assert hub_folder(f"org/llama@{commit}", ["config.json"], []).name == commit


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/gone", r"^org/gone: the hub has no such repository, or a private one\n  .*hf auth login"),
        ("org/model@v9", r"^org/model@v9: the hub has org/model, but no revision v9 of it$"),
        ("org/gated", r"^org/gated: gated: accept its licence at http.*/org/gated, then log in with `hf auth login`$"),
        ("org/empty", r"^org/empty: the hub's repository has not all of: config.json, model.safetensors or "),
        ("a b/c", r"^a b/c: the hub does not give it: Repo id must"),
    ],
)
def test_what_the_hub_does_not_give(hub, name, message):
    for repository in ("org/model", "org/gated", "org/empty"):
        files = {"config.json": b"{}", **({} if repository == "org/empty" else {"model.safetensors": b"1"})}
        hub.put(repository, files, gated=repository == "org/gated")
    with pytest.raises(UserError, match=message):
        hub_folder(name, ["config.json"], FORMS)


def test_a_login_opens_a_gated_model(hub, tmp_path):
    hub.put("org/gated", {"config.json": b"{}", "model.safetensors": b"1"}, gated=True)
    with client_of(hub, tmp_path / "other", token="hf_of_tests"):
        assert hub_folder("org/gated", ["config.json"], FORMS).is_dir()


def test_without_a_network(tmp_path):
    with hub_server() as hub:
        pass  # nobody listens there any more
    with (
        client_of(hub, tmp_path),
        pytest.raises(UserError, match=r"^org/model: not in the hub's local cache, and the hub cannot be reached\n"),
    ):
        hub_folder("org/model", ["config.json"], FORMS)


def test_a_disk_with_too_little_room_is_told_before_the_download(hub, monkeypatch):
    hub.put("org/model", {"config.json": b"{}", "model.safetensors": b"1" * 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1001}))
    with pytest.raises(UserError, match=r"^org/model: 0.0 GB to download, but .* has room for 0.0 GB\n.*HF_HOME"):
        hub_folder("org/model", ["config.json"], FORMS)
    assert not [request for request in hub.requests if request.startswith("GET /org")]


def test_the_command_line_tells_it_in_two_lines(hub, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "mmadapter"))
    hub.put("org/gated", {"config.json": b"{}", "model.safetensors": b"1"}, gated=True)
    data = ["--dataset", "scienceqa", "--data-dir", str(write_colours(tmp_path / "data"))]
    assert main(["--llm", "org/gated", *data, "--output-dir", str(tmp_path / "run"), "--quiet"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mmadapter-train: --llm org/gated: gated: accept its licence at ")
    assert len(told.splitlines()) <= 2
    assert not (tmp_path / "run").exists()
