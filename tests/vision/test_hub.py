"""Image towers from a hub, in both forms in which they are published there."""

import json

import open_clip
import pytest

from mmadapter.errors import UserError
from mmadapter.vision import towers
from mmadapter.vision.towers import load_tower
from tests.hub_server import client_of, hub_server
from tests.vision.conftest import PREPROCESSING, TEXT, VIT


@pytest.fixture
def hub(tmp_path):
    with hub_server() as hub, client_of(hub, tmp_path / "cache"):
        yield hub


def test_towers_from_the_hub(hub, save_open_clip, transformers_clip):
    files = {}
    for folder in (save_open_clip(VIT), transformers_clip[0]):
        files |= {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.put("org/model", files)
    # one repository often has both forms: the name says which
    assert load_tower("hf-hub:org/model").fingerprint == load_tower(str(save_open_clip(VIT, name="b"))).fingerprint
    assert load_tower("org/model").fingerprint == load_tower(str(transformers_clip[0])).fingerprint


def test_a_published_model_of_open_clip(hub, save_open_clip, tmp_path, monkeypatch):
    folder = save_open_clip(VIT)
    weights = (folder / "open_clip_model.safetensors").read_bytes()
    hub.put("org/model", {"open_clip_model.safetensors": weights})
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
