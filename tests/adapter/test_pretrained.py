"""An adapter's folder and its repository on a hub: saved, pushed, loaded back by name."""

import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.model_files import weights_key
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from tests.hub_server import client_of, hub_server
from tests.tiny import FixedTower, byte_tokenizer, tiny_llama, tiny_model


@pytest.fixture
def hub(tmp_path):
    with hub_server() as hub, client_of(hub, tmp_path / "cache", token="hf_secret"):
        yield hub


def named(model: MultimodalAdapter, llm: str) -> MultimodalAdapter:
    model.llm = LanguageModel(tiny_llama(), byte_tokenizer(), llm)
    return model


def test_pushed_and_loaded_back_by_name(hub):
    model = named(tiny_model(gate=0.5), "org/llama@v1")
    address = model.push_to_hub("me/adapter")
    assert address.startswith(f"{hub.url}/me/adapter/commit/")
    files = hub.repositories["me/adapter"].files
    assert sorted(files) == ["README.md", "adapter.safetensors", "adapter_config.json"]
    loaded = MultimodalAdapter.from_pretrained("me/adapter", llm=model.llm, tower=FixedTower())
    state = model.adapter.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in loaded.adapter.state_dict().items())
    hub.requests.clear()
    MultimodalAdapter.from_pretrained("me/adapter", llm=model.llm, tower=FixedTower())
    assert hub.requests == []  # from the cache
    model.push_to_hub("me/adapter", card="# With results\n")  # again, into the same repository
    assert files["README.md"] == b"# With results\n"


def test_the_card_is_one_of_the_hubs(tmp_path):
    named(tiny_model(text_only=True), "org/llama@v1").save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == {
        "base_model": "org/llama",
        "library_name": "mmadapter",
        "tags": ["llama-adapter", "text-only"],
    }
    assert "492 trained parameters on the frozen `org/llama@v1`" in card.text  # 2 * (5 * 48 + 6)
    (tmp_path / "README.md").write_text("mine")
    named(tiny_model(text_only=True), "org/llama").save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_backbone_of_this_machine_is_not_published(hub, tmp_path):
    with pytest.raises(UserError, match="is on this machine alone"):
        named(tiny_model(), str(tmp_path)).push_to_hub("me/adapter")
    assert hub.requests == []
    named(tiny_model(), str(tmp_path)).save_pretrained(tmp_path / "adapter")
    assert ModelCard.load(tmp_path / "adapter" / "README.md").data.base_model is None


def test_without_a_login_nothing_is_pushed(tmp_path):
    with hub_server() as hub, client_of(hub, tmp_path / "cache"):
        with pytest.raises(UserError, match="me/adapter: the hub does not let you write there\n  `hf auth login`"):
            named(tiny_model(), "org/llama").push_to_hub("me/adapter")
        assert not hub.repositories


def test_a_repository_without_an_adapter(hub):
    hub.put("org/other", {"adapter_config.json": json.dumps({"peft_type": "LORA"}).encode()})
    with pytest.raises(UserError, match=r"org/other: the hub's repository has not all of: .*adapter.safetensors"):
        MultimodalAdapter.from_pretrained("org/other")
    with pytest.raises(UserError, match="org/none: the hub has no such repository"):
        MultimodalAdapter.from_pretrained("org/none")


def test_other_weights_of_the_same_architecture_are_another_model(tmp_path):
    model = tiny_model(text_only=True)
    ours, theirs = (replace(model.llm, weights=f"model.safetensors {key}") for key in ("aaaa", "bbbb"))
    model.llm = ours
    model.save_pretrained(tmp_path)
    assert MultimodalAdapter.from_pretrained(tmp_path, llm=ours).llm.weights == "model.safetensors aaaa"
    with pytest.raises(UserError, match=r"other weights of tiny-in-memory: model.safetensors aaaa, not .* bbbb"):
        MultimodalAdapter.from_pretrained(tmp_path, llm=theirs)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    del saved["llm_weights"]  # as version 0.1.0 wrote it
    (tmp_path / "adapter_config.json").write_text(json.dumps(saved))
    assert MultimodalAdapter.from_pretrained(tmp_path, llm=theirs).llm.weights == "model.safetensors bbbb"


def test_the_key_of_weights_is_of_the_files_wherever_they_lie(tmp_path):
    files = {}
    for name in ("one", "moved", "other"):
        (tmp_path / name).mkdir()
        files[name] = tmp_path / name / "model.safetensors"
    data = bytearray(range(256)) * 100_000
    files["one"].write_bytes(data)
    files["moved"].write_bytes(data)
    data[len(data) // 2] ^= 1
    files["other"].write_bytes(data)
    keys = {name: weights_key(file.parent) for name, file in files.items()}
    assert keys["one"] == keys["moved"] == weights_key(files["one"]) != keys["other"]
    assert keys["one"].startswith("model.safetensors ")
    (tmp_path / "one" / "more.safetensors").write_bytes(b"1")
    assert weights_key(tmp_path / "one").startswith("2 files ")
