"""PEFT's adaption prompt against PEFT."""

import json

import pytest
import torch
from peft import AdaptionPromptConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from mmadapter.errors import UserError
from mmadapter.interchange.convert import convert
from mmadapter.model import MultimodalAdapter
from tests.hub_server import client_of, hub_server
from tests.interchange.conftest import TOKENS, K, L, load, logits_of, random, same_tensors, save_ours
from tests.tiny import HEADS, byte_tokenizer, tiny_llama


@pytest.fixture
def theirs(llama, tmp_path) -> tuple[PeftModel, Tensor]:
    """A folder that PEFT wrote, with gates that are not 0, and its logits."""
    config = AdaptionPromptConfig(adapter_layers=L, adapter_len=K, task_type="CAUSAL_LM")
    model = get_peft_model(load(llama, attn_implementation="eager"), config).eval()
    for index, layer in enumerate(model.base_model.model.model.layers[-L:]):
        layer.self_attn.adaption_gate.data.fill_(0.6 - index)
    model.save_pretrained(tmp_path / "peft")
    with torch.no_grad():
        return tmp_path / "peft", model.double()(input_ids=TOKENS).logits.float()


def test_what_peft_wrote_gives_its_logits(theirs, tmp_path):
    folder, expected = theirs
    convert(folder, tmp_path / "ours", "mmadapter")  # the language model is that of PEFT's configuration
    torch.testing.assert_close(logits_of(tmp_path / "ours"), expected, rtol=0, atol=1e-5)


def test_there_and_back_is_the_same_file(theirs, tmp_path):
    convert(theirs[0], tmp_path / "ours", "mmadapter")
    convert(tmp_path / "ours", tmp_path / "back", "peft")
    file = "adapter_model.safetensors"
    assert same_tensors(load_file(tmp_path / "back" / file), load_file(theirs[0] / file))


def test_ours_gives_its_logits_in_peft(llama, tmp_path):
    """One tanh gate for all heads of a layer: PEFT's plain gate is tanh of it."""
    save_ours(tmp_path / "ours", llama, torch.tensor([[0.8], [-0.5]]).expand(L, HEADS))
    convert(tmp_path / "ours", tmp_path / "peft", "peft")
    peft = PeftModel.from_pretrained(load(llama, attn_implementation="eager"), tmp_path / "peft")
    with torch.no_grad():
        actual = peft.double()(input_ids=TOKENS).logits.float()
    torch.testing.assert_close(actual, logits_of(tmp_path / "ours"), rtol=0, atol=1e-5)


def test_gates_that_differ_between_heads_are_refused(llama, tmp_path):
    save_ours(tmp_path / "ours", llama, random(L, HEADS))
    with pytest.raises(UserError, match=r"layer 1: its heads have gates from .* PEFT's adaption prompt has one"):
        convert(tmp_path / "ours", tmp_path / "peft", "peft")
    assert not list(tmp_path.glob("peft*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_bias": True}, "output projection has a bias, which PEFT's adaption prompt adds twice"),
        ({"head_dim": 6}, "heads together are not as wide as the model"),
    ],
)
def test_models_on_which_peft_computes_something_else_are_refused(tmp_path, change, message):
    tiny_llama(**change).save_pretrained(tmp_path / "llama")
    byte_tokenizer().save_pretrained(tmp_path / "llama")
    save_ours(tmp_path / "ours", tmp_path / "llama", torch.ones(L, HEADS))
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "ours", tmp_path / "peft", "peft")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LORA"}, "peft_type is 'LORA': only ADAPTION_PROMPT"),
        ({"adapter_len": 4}, "adapter_len is 4, but 5"),
        ({"adapter_layers": None}, "adapter_layers is None, but 2"),
        ({"target_modules": "mlp"}, "target_modules is 'mlp'"),
        ({"base_model_name_or_path": None}, "does not say which language model"),
    ],
)
def test_configurations_that_do_not_fit(theirs, tmp_path, change, message):
    path = theirs[0] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        convert(theirs[0], tmp_path / "ours", "mmadapter")


def test_a_pickle_where_safetensors_are_expected(theirs, tmp_path):
    weights = theirs[0] / "adapter_model.safetensors"
    torch.save(load_file(weights), theirs[0] / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match=r"adapter_model.bin: is a pickle, and is not loaded"):
        convert(theirs[0], tmp_path / "ours", "mmadapter")
    (theirs[0] / "adapter_model.bin").rename(weights)
    with pytest.raises(UserError, match=r"adapter_model.safetensors: not this adapter's weights"):
        convert(theirs[0], tmp_path / "ours", "mmadapter")
    assert not list(tmp_path.glob("ours*"))


def test_from_the_hub_no_weights_of_the_language_model_are_downloaded(theirs, llama, tmp_path):
    """Both repositories are named by PEFT's side alone: the adapter's by the user, the model's by the adapter."""
    path = theirs[0] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "org/llama"}))
    with hub_server() as hub, client_of(hub, tmp_path / "cache"):
        hub.put("org/llama", llama)
        hub.put("me/peft", theirs[0])
        told = convert("me/peft", tmp_path / "ours", "mmadapter")
        assert "of org/llama" in told[0]
        assert not [request for request in hub.requests if "/org/llama/resolve/main/model" in request]
        assert MultimodalAdapter.from_pretrained(tmp_path / "ours").llm.name == "org/llama"
