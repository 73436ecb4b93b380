import json
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from mmadapter.errors import UserError
from mmadapter.hub import hub_folder
from mmadapter.vision import towers
from mmadapter.vision.towers import load_tower
from tests.vision.conftest import PREPROCESSING, TEXT, VIT


class FakeHub:
    """One repository and its local cache."""

    def __init__(self, root: Path):
        self.remote, self.cache = root / "remote", root / "cache"
        self.remote.mkdir()
        self.reachable = True
        self.requests = 0

    def snapshot_download(self, repo, *, allow_patterns, local_files_only):
        if local_files_only:
            if not self.cache.exists():
                raise LocalEntryNotFoundError("not cached")
            return str(self.cache)
        self.requests += 1
        if not self.reachable:
            raise LocalEntryNotFoundError("no network")
        if repo != "org/model":
            raise OSError("404 Not Found\nlong explanation")  # the client's own error is one
        self.cache.mkdir(exist_ok=True)
        for name in filter_repo_objects([p.name for p in self.remote.iterdir()], allow_patterns=allow_patterns):
            (self.cache / name).write_bytes((self.remote / name).read_bytes())
        return str(self.cache)

    def put(self, *names: str) -> None:
        for name in names:
            (self.remote / name).write_text("{}")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> FakeHub:
    hub = FakeHub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


FORMS = [["model.safetensors"], ["model.safetensors.index.json", "model-*.safetensors"], ["pytorch_model.bin"]]


def test_downloaded_once_and_then_without_a_request(hub):
    hub.put("config.json", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack")
    folder = hub_folder("org/model", ["config.json"], FORMS)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    hub.reachable, hub.requests = False, 0
    assert hub_folder("org/model", ["config.json"], FORMS) == folder
    assert hub.requests == 0


def test_the_next_form_of_the_weights(hub):
    hub.put("config.json", "pytorch_model.bin")
    assert (hub_folder("org/model", ["config.json"], FORMS) / "pytorch_model.bin").is_file()


def test_a_download_that_was_interrupted_between_shards_goes_on(hub):
    hub.put("config.json", "model-1.safetensors", "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (hub.remote / "model.safetensors.index.json").write_text(json.dumps(index))
    folder = hub_folder("org/model", ["config.json"], FORMS)
    (folder / "model-2.safetensors").unlink()
    assert (hub_folder("org/model", ["config.json"], FORMS) / "model-2.safetensors").is_file()


def test_no_network(hub):
    hub.reachable = False
    with pytest.raises(UserError, match=r"org/model: not in the hub's local cache, and the hub cannot be reached"):
        hub_folder("org/model", ["config.json"], FORMS)


def test_no_such_repository(hub):
    with pytest.raises(UserError, match=r"^org/other: the hub does not give it: 404 Not Found$"):
        hub_folder("org/other", ["config.json"], FORMS)


def test_a_repository_without_weights(hub):
    hub.put("config.json")
    with pytest.raises(UserError, match=r"has not all of: config\.json, model\.safetensors or "):
        hub_folder("org/model", ["config.json"], FORMS)


def test_towers_from_the_hub(hub, save_open_clip, transformers_clip):
    for folder in (save_open_clip(VIT), transformers_clip[0]):
        for path in folder.iterdir():
            (hub.remote / path.name).write_bytes(path.read_bytes())
    # one repository often has both forms: the name says which
    assert load_tower("hf-hub:org/model").fingerprint == load_tower(str(save_open_clip(VIT, name="b"))).fingerprint
    assert load_tower("org/model").fingerprint == load_tower(str(transformers_clip[0])).fingerprint


def test_a_published_model_of_open_clip(hub, save_open_clip, tmp_path, monkeypatch):
    folder = save_open_clip(VIT)
    weights = (folder / "open_clip_model.safetensors").read_bytes()
    (hub.remote / "open_clip_model.safetensors").write_bytes(weights)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    assert config["text_cfg"] == TEXT
    (tmp_path / "tiny-of-tests.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-of-tests.json")
    published = {"hf_hub": "org/model/", **PREPROCESSING}
    monkeypatch.setattr(towers.import_open_clip(), "get_pretrained_cfg", lambda model, tag: published)
    assert load_tower("tiny-of-tests/tag").fingerprint == load_tower(str(folder)).fingerprint
    published["quick_gelu"] = True
    with pytest.raises(UserError, match="use tiny-of-tests-quickgelu/tag"):
        load_tower("tiny-of-tests/tag")
