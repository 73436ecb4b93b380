"""Language models from a folder in Hugging Face's form and from a GGUF file, told from one another."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PhiConfig

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.loading import load_llm
from mmadapter.backbone.smollm2 import SMOLLM2_HUB_ID, find_smollm2
from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.inference.likelihood import answer_loss, option_log_likelihoods
from mmadapter.inference.tokenising import Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Problem
from tests.tiny import byte_tokenizer, tiny_llama, tiny_lm


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_loads_as_it_was_saved(folder):
    llm = load_llm(str(folder))
    expected = tiny_llama().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in llm.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in llm.model.parameters())
    assert not llm.model.training
    assert llm.model.config._attn_implementation == ATTENTION_NAME
    assert load_llm(str(folder), dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_fingerprints_tell_models_apart_by_what_an_adapter_needs(folder):
    llm = load_llm(str(folder))
    assert llm.fingerprint == tiny_lm().fingerprint == load_llm(str(folder), dtype=torch.bfloat16).fingerprint
    assert llm.fingerprint != tiny_lm(intermediate_size=40).fingerprint
    other = tiny_lm()
    other.tokenizer.add_tokens(["zebra"])
    assert llm.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "gone.gguf", "tiny-lama"])
def test_a_name_that_means_nothing(name):
    with pytest.raises(UserError, match="no such file, folder or embedded model, and no hub id"):
        load_llm(name)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"config.json: cannot be read: No such file"):
        load_llm(str(tmp_path))


def test_a_damaged_model(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot load it: "):
        load_llm(str(folder))


def test_an_architecture_that_nobody_has_checked(tmp_path):
    PhiConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"unsupported architecture: 'phi'\n  supported: llama, .*gemma2"):
        load_llm(str(tmp_path))


def test_missing_tensors_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 tensors are missing in its weights: model.layers.1.mlp.up_proj.weight"):
        load_llm(str(folder))


def test_surplus_tensors_are_not_left_out_unseen(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    surplus = r"9 tensors of its weights have no place in the model: model.layers.2.input_layernorm.weight, "
    with pytest.raises(UserError, match=surplus):
        load_llm(str(folder))


def test_pickled_weights_are_not_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"its weights are pickled \(pytorch_model.bin\), which can run a program"):
        load_llm(str(folder))


def test_code_of_a_models_own_is_never_run(folder):
    (folder / "modeling_own.py").write_text("raise SystemExit(3)")
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.Config"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    with pytest.raises(UserError, match=r"unsupported architecture: 'own', with code of its own, which is never run\n"):
        load_llm(str(folder))


def test_the_tokenizer_of_another_model(folder):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(7)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"its tokenizer has tokens up to 265, its model knows 261: are they from the"):
        load_llm(str(folder))


@pytest.mark.skipif(find_smollm2() is None, reason="python -m mmadapter.backbone.smollm2 fetches SmolLM2")
def test_the_oracles_hold_on_a_pretrained_model():
    """SmolLM2-135M (grouped-query heads, tied embeddings) from its GGUF file."""
    llm = load_llm(SMOLLM2_HUB_ID)
    model = MultimodalAdapter.build(llm, None, adapter_layers=30, prompt_std=0.3, form=InputFormat(answer="text"))
    problem = Problem(
        pid="1", split="test", question="What is ice made of?", choices=("frozen water", "fire", "sand"), answer=0
    )
    (question,) = Encoder(llm, model.form)([problem])
    tokens = torch.tensor([question.prompt])
    read = torch.zeros(tokens.shape[1], dtype=torch.long), torch.arange(tokens.shape[1])
    with torch.no_grad():
        frozen = llm.model(input_ids=tokens).logits[0]
        assert torch.equal(model.logits(model.adapter(), tokens, read), frozen)

    loss = answer_loss(model, model.adapter(), [question])
    loss.backward()
    assert model.adapter.gates.grad.abs().min() > 0
    assert model.adapter.prompts.grad.abs().max() == 0  # at gate 0, exactly
    torch.nn.init.constant_(model.adapter.gates, 0.3)
    (scores,) = option_log_likelihoods(model, model.adapter(), [question])
    with torch.no_grad(), model.prompted(model.adapter()):
        for option, score in zip(question.options, scores, strict=True):
            row = torch.tensor([question.prompt + option])
            log_probabilities = llm.model(input_ids=row).logits[0].log_softmax(-1)
            start = len(question.prompt) - 1
            alone = sum(log_probabilities[start + at, token].item() for at, token in enumerate(option))
            assert score.item() == pytest.approx(alone, abs=2e-3)  # float32 sums over 49,152 words
        cached, plain = (
            llm.model.generate(input_ids=tokens, max_new_tokens=5, do_sample=False, use_cache=cache, pad_token_id=0)
            for cache in (True, False)
        )
    assert torch.equal(cached, plain)


@pytest.mark.slow
def test_compiled_layers_give_the_same_logits():
    plain, compiled = load_llm("tiny-llama"), load_llm("tiny-llama", compile_layers=True)
    models = [MultimodalAdapter.build(llm, None, adapter_layers=3) for llm in (plain, compiled)]
    for model in models:
        torch.nn.init.constant_(model.adapter.gates, 0.5)
    for length in (9, 17, 40):  # with other lengths as well
        tokens = torch.randint(3, 1000, (3, length), generator=torch.Generator().manual_seed(length))
        read = torch.arange(3), torch.full((3,), length - 2)
        logits = [model.logits(model.adapter(), tokens, read) for model in models]
        torch.testing.assert_close(*logits, rtol=0, atol=1e-4)
        gradients = [
            torch.autograd.grad(out.logsumexp(-1).sum(), model.adapter.prompts)[0]
            for out, model in zip(logits, models, strict=True)
        ]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-4)


def test_without_a_compiler_it_cannot_compile(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        load_llm("tiny-llama", compile_layers=True)
