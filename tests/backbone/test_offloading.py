"""Layers in main memory: the same numbers, and a GPU would hold no more of them than it is told."""

import copy

import pytest
import torch
from torch import nn

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.placement import offload
from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from tests.backbone.families import CONFIGS, random_model
from tests.tiny import FEATURE_SIZES, FixedTower, byte_tokenizer

CPU = torch.device("cpu")
LAYERS = 3


def adapted(family: str) -> MultimodalAdapter:
    torch.manual_seed(0)
    llm = LanguageModel(random_model(CONFIGS[family], "mmadapter"), byte_tokenizer(), "random")
    model = MultimodalAdapter.build(llm, FixedTower(), adapter_len=5, adapter_layers=LAYERS, prompt_std=0.5)
    nn.init.constant_(model.adapter.gates, 0.4)
    model.checkpointing = True
    return model


def trained(model: MultimodalAdapter) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    tokens, features = (
        torch.randint(3, 250, (3, 13), generator=generator),
        torch.randn(3, sum(FEATURE_SIZES), generator=generator),
    )
    logits = model.logits(model.adapter(features), tokens, (torch.arange(3), torch.full((3,), 12)))
    return logits, *torch.autograd.grad(logits.square().sum(), list(model.adapter.parameters()))


def matrices(model: MultimodalAdapter) -> dict[str, nn.Linear]:
    return {name: part for name, part in model.llm.layers.named_modules() if isinstance(part, nn.Linear)}


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
def test_the_same_bits_and_nothing_stays_but_what_a_backward_pass_waits_for(family):
    plain = adapted(family)
    model = copy.deepcopy(plain)
    stored = {part.weight.data_ptr(): name for name, part in matrices(model).items()}
    offload(model.llm, CPU)
    assert all(part.weight.is_meta for part in matrices(model).values())
    waits: set[str] = set()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta and (name := stored.get(tensor.untyped_storage().data_ptr())):
            waits.add(name)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        results = trained(model)
    assert all(torch.equal(one, other) for one, other in zip(results, trained(plain), strict=True))
    assert all(part.weight.is_meta for part in matrices(model).values())
    depth = len(model.llm.layers)
    prompted = {f"{n}.self_attn.{kind}_proj" for n in range(depth - LAYERS, depth) for kind in "kv"}
    assert prompted <= waits <= prompted | {name for name in matrices(model) if name.startswith(f"{depth - 1}.")}


def test_settings_that_do_not_go_together():
    with pytest.raises(UserError, match="--offload: needs --checkpointing"):
        RunConfig(offload=True)
    for wrong in ({"compile": True}, {"store_activations": True}, {"quantise": "4bit"}):
        with pytest.raises(UserError, match="--offload: does not go with"):
            RunConfig(offload=True, checkpointing=True, **wrong)


@pytest.mark.slow
def test_a_run_is_the_run_without(tmp_path, monkeypatch):
    from eval.demo import write_demo
    from mmadapter.cli.train import main
    from mmadapter.experiment.reload import load_variant

    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    data = write_demo(tmp_path / "data", sizes={"train": 8, "val": 4, "test": 4})
    for name, more in (("plain", []), ("away", ["--offload", "--checkpointing"])):
        arguments = ["--data-dir", str(data), "--epochs", "1", "--variant", "text", "--quiet"]
        assert main([*arguments, "--output-dir", str(tmp_path / name), *more]) == 0
    plain, away = (tmp_path / name / "text" for name in ("plain", "away"))
    assert (plain / "adapter.safetensors").read_bytes() == (away / "adapter.safetensors").read_bytes()
    assert (plain / "predictions.parquet").read_bytes() == (away / "predictions.parquet").read_bytes()
    assert (tmp_path / "plain/ceiling.parquet").read_bytes() == (tmp_path / "away/ceiling.parquet").read_bytes()
    assert all(part.weight.is_meta for part in matrices(load_variant(away)).values())
