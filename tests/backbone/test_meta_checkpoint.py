"""Folders in Meta's form against Meta's own forward, written out: neighbouring rows are a rotary plane there."""

import base64
import json
import math

import pytest
import torch
from torch.nn.functional import silu

from mmadapter.backbone.loading import load_llm
from mmadapter.backbone.meta_checkpoint import is_meta_folder
from mmadapter.errors import UserError

DIM, LAYERS, HEADS, KEY_HEADS, MERGES = 48, 3, 6, 2, ("th", "he", "the", " the")
PARAMS = {"dim": DIM, "n_layers": LAYERS, "n_heads": HEADS, "multiple_of": 40, "norm_eps": 1e-5, "vocab_size": -1}
GROUPED = {**PARAMS, "n_kv_heads": KEY_HEADS, "ffn_dim_multiplier": 1.3, "rope_theta": 5e5}
HIDDEN = {"plain": 160, "grouped": 200}  # 128 and 166, rounded up to a multiple of 40
VOCABULARY = 256 + len(MERGES) + 256


def weights(params: dict, hidden: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    key_rows = DIM // HEADS * params.get("n_kv_heads", HEADS)
    shapes = {"tok_embeddings": (VOCABULARY, DIM), "norm": (DIM,), "output": (VOCABULARY, DIM)}
    for layer in (f"layers.{index}" for index in range(LAYERS)):
        shapes |= {f"{layer}.attention.w{part}": (DIM, DIM) for part in "qo"}
        shapes |= {f"{layer}.attention.w{part}": (key_rows, DIM) for part in "kv"}
        shapes |= {f"{layer}.feed_forward.w{part}": (hidden, DIM) for part in "13"}
        shapes |= {f"{layer}.feed_forward.w2": (DIM, hidden), f"{layer}.attention_norm": (DIM,)}
        shapes[f"{layer}.ffn_norm"] = (DIM,)
    made = {f"{name}.weight": torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    return {**made, "rope.freqs": torch.ones(DIM // HEADS // 2)}


def shard(state: dict[str, torch.Tensor], count: int, *, rows: bool) -> list[dict[str, torch.Tensor]]:
    """As fairscale's parallel layers lie on `count` GPUs; LLaMA 3 cuts the embedding's rows."""
    axes = {"wq": 0, "wk": 0, "wv": 0, "w1": 0, "w3": 0, "output": 0, "wo": 1, "w2": 1}
    axes["tok_embeddings"] = 0 if rows else 1
    shards = [{} for _ in range(count)]
    for name, tensor in state.items():
        axis = axes.get(name.split(".")[-2])
        parts = [tensor] * count if axis is None else tensor.chunk(count, dim=axis)
        for own, part in zip(shards, parts, strict=True):
            own[name] = part.clone()
    return shards


def write(folder, params: dict, shards: list[dict]):
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params))
    for number, state in enumerate(shards):
        torch.save(state, folder / f"consolidated.{number:02}.pth")
    tokens = [bytes([byte]) for byte in range(256)] + [merge.encode() for merge in MERGES]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    (folder / "tokenizer.model").write_text("\n".join(lines) + "\n")
    return folder


def forward(state: dict[str, torch.Tensor], params: dict, tokens: torch.Tensor) -> torch.Tensor:
    """Meta's llama/model.py in float64: rotations are products with complex numbers of neighbouring components."""
    w = {name.removesuffix(".weight"): tensor.double() for name, tensor in state.items()}
    size = DIM // HEADS
    frequencies = params.get("rope_theta", 1e4) ** (-torch.arange(0, size, 2).double() / size)
    turns = torch.polar(torch.ones(()).double(), torch.arange(len(tokens))[:, None] * frequencies)

    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + params["norm_eps"]).sqrt() * w[name]

    def rotated(x):  # (T, H, D)
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns[:, None]).flatten(-2)

    x = w["tok_embeddings"][tokens]
    for layer in (f"layers.{index}" for index in range(LAYERS)):
        normed = norm(x, f"{layer}.attention_norm")
        q, k, v = ((normed @ w[f"{layer}.attention.w{part}"].T).unflatten(-1, (-1, size)) for part in "qkv")
        q, k = rotated(q), rotated(k)
        k, v = (part.repeat_interleave(HEADS // part.shape[1], dim=1) for part in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(size)
        scores = scores.masked_fill(torch.ones_like(scores[0], dtype=torch.bool).triu(1), -math.inf)
        out = torch.einsum("hts,shd->thd", scores.softmax(-1), v).flatten(1)
        x = x + out @ w[f"{layer}.attention.wo"].T
        normed = norm(x, f"{layer}.ffn_norm")
        gate, up = (normed @ w[f"{layer}.feed_forward.w{part}"].T for part in "13")
        x = x + (silu(gate) * up) @ w[f"{layer}.feed_forward.w2"].T
    return norm(x, "norm") @ w["output"].T


@torch.no_grad()
@pytest.mark.parametrize("kind", ["plain", "grouped"])
def test_logits_are_those_of_metas_forward_from_one_file_and_from_two(tmp_path, kind):
    params = {"plain": PARAMS, "grouped": GROUPED}[kind]
    state = weights(params, HIDDEN[kind])
    one = load_llm(str(write(tmp_path / "one", params, [state])))
    two = load_llm(str(write(tmp_path / "two", params, shard(state, 2, rows=kind == "grouped"))))
    tokens = torch.randint(0, VOCABULARY, (11,), generator=torch.Generator().manual_seed(1))
    logits = one.model(input_ids=tokens[None]).logits[0]
    torch.testing.assert_close(logits.double(), forward(state, params, tokens), rtol=0, atol=2e-5)
    assert torch.equal(two.model(input_ids=tokens[None]).logits[0], logits)
    assert one.fingerprint == two.fingerprint
    assert not any(parameter.requires_grad for parameter in one.model.parameters())


def test_what_transformers_saves_of_it_is_the_same_model(tmp_path):
    llm = load_llm(str(write(tmp_path / "meta", GROUPED, [weights(GROUPED, HIDDEN["grouped"])])))
    llm.model.save_pretrained(tmp_path / "hf")
    llm.tokenizer.save_pretrained(tmp_path / "hf")
    again = load_llm(str(tmp_path / "hf"))
    assert again.fingerprint == llm.fingerprint
    assert all(torch.equal(w, again.model.state_dict()[name]) for name, w in llm.model.state_dict().items())
    assert load_llm(str(tmp_path / "meta"), dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_the_tokenizer_of_llama_3(tmp_path):
    llm = load_llm(str(write(tmp_path / "meta", PARAMS, [weights(PARAMS, HIDDEN["plain"])])))
    tokens = llm.tokenizer("the ½ the").input_ids
    start = 256 + len(MERGES)
    assert tokens == [start, 258, 32, 0xC2, 0xBD, 259]
    assert llm.tokenizer.decode(tokens, skip_special_tokens=True) == "the ½ the"
    assert llm.tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eot_id|>"]) == [start + 1, start + 9]
    assert llm.bos == [start]
    assert len(llm.tokenizer) == VOCABULARY


def test_the_tokenizer_of_llama_1_and_2_may_lie_in_the_folder_above(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = write(tmp_path / "7B", PARAMS, [weights(PARAMS, HIDDEN["plain"])])
    (folder / "tokenizer.model").unlink()
    (tmp_path / "text").write_text("what is ice made of\nit is frozen water\n" * 40)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    state = weights(PARAMS, HIDDEN["plain"])
    state |= {name: state[name][: own.vocab_size()].clone() for name in ("tok_embeddings.weight", "output.weight")}
    torch.save(state, folder / "consolidated.00.pth")
    llm = load_llm(str(folder))
    text = "what is ice?\nfrozen: ½"
    assert llm.tokenizer(text).input_ids == [own.bos_id(), *own.encode(text)]
    assert llm.bos == [own.bos_id()]
    assert llm.model.config.vocab_size == own.vocab_size()


def damage_rows(state):
    state["layers.1.feed_forward.w1.weight"] = state["layers.1.feed_forward.w1.weight"][:-1]


def damage_name(state):
    state["layers.1.attention.wz.weight"] = state.pop("layers.1.attention.wq.weight")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_rows, r"layers.1.feed_forward.w1.weight: has shape \(159, 48\), params.json says \(160, 48\)"),
        (damage_name, r"layers.1.attention.wz.weight: not a tensor of a LLaMA"),
        (lambda state: state.pop("norm.weight"), r"1 tensors are missing in its weights: model.norm.weight"),
        (lambda state: state.update(wrong=print), r"consolidated.00.pth: cannot load it: "),
    ],
)
def test_a_damaged_folder(tmp_path, damage, message):
    state = weights(PARAMS, HIDDEN["plain"])
    damage(state)
    folder = write(tmp_path / "meta", PARAMS, [state])
    assert is_meta_folder(folder)
    with pytest.raises(UserError, match=message):
        load_llm(str(folder))


def test_files_of_two_models(tmp_path):
    shards = shard(weights(PARAMS, HIDDEN["plain"]), 2, rows=False)
    del shards[1]["norm.weight"]
    with pytest.raises(UserError, match=r"consolidated.01.pth: has other tensors than consolidated.00.pth"):
        load_llm(str(write(tmp_path / "meta", PARAMS, shards)))


def test_params_that_say_too_little(tmp_path):
    params = {name: value for name, value in PARAMS.items() if name != "n_heads"}
    with pytest.raises(UserError, match=r"params.json: not the parameters of a LLaMA: KeyError\('n_heads'\)"):
        load_llm(str(write(tmp_path / "meta", params, [{"a": torch.ones(1)}])))
