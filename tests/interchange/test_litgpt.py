"""litgpt's adapter: files in its layout, and where litgpt is installed its own attention."""

import pytest
import torch
from torch import Tensor

from mmadapter.interchange.convert import convert
from tests.interchange.conftest import TOKENS, K, L, load, logits_of, random
from tests.tiny import HEADS, HIDDEN, KEY_HEADS, LAYERS, VOCABULARY


def written(gate_shape: tuple[int, ...] = (1, 1, HEADS, 1)) -> dict[str, Tensor]:
    tensors = {}
    for layer in range(LAYERS - L, LAYERS):
        tensors[f"transformer.h.{layer}.attn.adapter_wte.weight"] = random(K, HIDDEN, seed=layer)
        tensors[f"transformer.h.{layer}.attn.gating_factor"] = random(*gate_shape, seed=10 + layer)
    return tensors


@pytest.mark.parametrize("gate_shape", [(1, 1, HEADS, 1), (1, HEADS, 1, 1)])
def test_every_tensor_arrives_where_it_belongs(llama, tmp_path, gate_shape):
    """Against mmadapter's own adapter, filled by hand."""
    from mmadapter.adapter.weights import load_adapter

    torch.save({"model": written(gate_shape)}, tmp_path / "lit_model.pth.adapter")
    told = convert(tmp_path / "lit_model.pth.adapter", tmp_path / "ours", "mmadapter", llm=str(llama))
    assert "pull request 1013" in told[1]
    adapter, about = load_adapter(tmp_path / "ours")
    assert adapter.config.gate_activation == "identity"
    assert about["converted_from"] == "litgpt"
    assert torch.equal(adapter.prompts, torch.stack([random(K, HIDDEN, seed=layer) for layer in (1, 2)]))
    gates = [random(*gate_shape, seed=10 + layer).flatten() for layer in (1, 2)]
    assert torch.equal(adapter.gates, torch.stack(gates))


@pytest.mark.slow  # litgpt takes nine seconds to import
@pytest.mark.parametrize("rows_as_its_adapter_takes_them", [True, False])
def test_gives_litgpts_logits_where_its_rows_are_in_the_order_that_it_takes_them(
    llama, tmp_path, monkeypatch, rows_as_its_adapter_takes_them
):
    """litgpt 0.5.13 has q, k, v one after the other, and its adapter splits them group by group."""
    adapter_of_litgpt = pytest.importorskip("litgpt.adapter")
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama

    config = adapter_of_litgpt.Config(
        name="tiny", n_layer=LAYERS, n_embd=HIDDEN, n_head=HEADS, n_query_groups=KEY_HEADS, intermediate_size=56,
        padded_vocab_size=VOCABULARY, vocab_size=VOCABULARY, block_size=64, bias=False, parallel_residual=False,
        rotary_percentage=1.0, norm_class_name="RMSNorm", norm_eps=1e-6, mlp_class_name="LLaMAMLP",
        adapter_prompt_length=K, adapter_start_layer=LAYERS - L,
    )  # fmt: skip
    gpt = adapter_of_litgpt.GPT(config)
    state: dict[str, Tensor] = {}
    copy_weights_hf_llama(config, {}, state, load(llama).state_dict())
    gpt.load_state_dict(state | written(), strict=False)
    gpt.double().eval()
    if rows_as_its_adapter_takes_them:
        for block in gpt.transformer.h[LAYERS - L :]:
            _split_in_order(block.attn, monkeypatch)
    with torch.no_grad():
        theirs = gpt(TOKENS).float()
    torch.save({"model": written()}, tmp_path / "lit_model.pth.adapter")
    convert(tmp_path / "lit_model.pth.adapter", tmp_path / "ours", "mmadapter", llm=str(llama))
    difference = (logits_of(tmp_path / "ours") - theirs).abs().max()
    if rows_as_its_adapter_takes_them:
        assert difference < 1e-5
    else:
        assert difference > 0.1


def _split_in_order(attention: torch.nn.Module, monkeypatch) -> None:
    """Put the prompts' keys and values where litgpt keeps them, taken from the right rows."""
    size, per_group = attention.config.head_size, HEADS // KEY_HEADS
    with torch.no_grad():
        rows = attention.qkv(attention.adapter_wte.weight)
    _, key, value = rows.split([HEADS * size, KEY_HEADS * size, KEY_HEADS * size], dim=-1)
    heads = [
        part.unflatten(-1, (-1, size)).transpose(0, 1).repeat_interleave(per_group, 0)[None] for part in (key, value)
    ]
    monkeypatch.setattr(attention, "adapter_kv_cache", tuple(heads))
