"""What trains: its number, its start, its image token, its files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn.functional import layer_norm

from mmadapter.adapter.parameters import RIDGE, Adapter, AdapterConfig, Projection
from mmadapter.adapter.weights import load_adapter, save_adapter
from mmadapter.config.presets import PRESETS
from mmadapter.errors import UserError
from tests.tiny import FEATURE_SIZES

SMALL = AdapterConfig(
    hidden_size=48, num_heads=6, adapter_len=5, adapter_layers=2, feature_sizes=FEATURE_SIZES, projection_hidden=13
)


def parameters(config: AdapterConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Adapter(config).parameters())


@pytest.mark.parametrize(("layers", "published"), [(10, 0.97e6), (20, 1.37e6), (30, 1.79e6)])
def test_trainable_parameters_on_llama_7b_are_those_of_table_4(layers, published):
    """Without the image L * (K * C + H), the paper's 1.2M at L = 30; with it Table 4's column."""
    llama = {"hidden_size": 4096, "num_heads": 32, "adapter_layers": layers}
    assert parameters(AdapterConfig(**llama)) == layers * (10 * 4096 + 32)
    if layers == 30:
        assert parameters(AdapterConfig(**llama)) == 1_229_760
    paper = PRESETS["paper"]
    multimodal = AdapterConfig(**llama, feature_sizes=(1024,) * paper.scales, projection_hidden=paper.projection_hidden)
    assert abs(parameters(multimodal) - published) <= 0.01e6


def test_starts_with_gates_0_and_prompts_of_the_given_deviation():
    adapter = Adapter(AdapterConfig(hidden_size=512, num_heads=8, adapter_layers=6), prompt_std=0.3, seed=1)
    assert torch.count_nonzero(adapter.gates) == 0
    assert abs(adapter.prompts.std().item() - 0.3) < 0.01  # 30,720 values: 7 standard errors
    again = Adapter(AdapterConfig(hidden_size=512, num_heads=8, adapter_layers=6), prompt_std=0.3, seed=1)
    assert torch.equal(adapter.prompts, again.prompts)


def test_variants_start_from_the_same_prompts_and_leave_the_global_generator_alone():
    text = AdapterConfig(hidden_size=48, num_heads=6, adapter_len=5, adapter_layers=2)
    state = torch.get_rng_state()
    assert torch.equal(Adapter(SMALL, seed=3).prompts, Adapter(text, seed=3).prompts)
    assert torch.equal(torch.get_rng_state(), state)


def test_image_token_is_eq_9_and_zero_without_an_image():
    adapter = Adapter(SMALL)
    features = torch.randn(3, sum(FEATURE_SIZES))
    token = adapter(features, torch.tensor([True, False, True])).image_token
    assert torch.equal(token[1], torch.zeros(48))
    scales = [
        (part - part.mean(-1, keepdim=True)) / part.std(-1, keepdim=True, correction=0)
        for part in features.split(FEATURE_SIZES, dim=-1)
    ]
    first, second = adapter.projection.mlp[0], adapter.projection.mlp[2]
    hidden = torch.nn.functional.gelu(torch.cat(scales, dim=-1) @ first.weight.T + first.bias)
    expected = hidden @ second.weight.T + second.bias
    torch.testing.assert_close(token[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-4)  # layer_norm has an epsilon


def normalised(features: Tensor) -> Tensor:
    return torch.cat([layer_norm(part, part.shape[-1:]) for part in features.split(FEATURE_SIZES, dim=-1)], dim=-1)


def test_components_are_principal_and_whitened():
    """Of these images: on others a component is what it is on these."""
    projection = Projection(FEATURE_SIZES, 13, 48, components=7)
    assert projection.unfitted
    seen, other = torch.randn(2, 50, sum(FEATURE_SIZES)) * torch.linspace(0.1, 9, sum(FEATURE_SIZES))
    projection.whiten(*projection.whitening(seen))
    assert not projection.unfitted

    pca = PCA(n_components=7, svd_solver="full").fit(normalised(seen.double()))
    ridge = RIDGE * normalised(seen.double()).var(dim=0, correction=0).mean().item()
    expected = torch.tensor(
        pca.transform(normalised(other.double())) / (pca.explained_variance_ * 49 / 50 + ridge) ** 0.5
    )
    flipped = (torch.tensor(pca.components_.T) * projection.axes).sum(0).sign()
    expected = projection.mlp((expected * flipped).float())
    torch.testing.assert_close(projection(other), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("images", [1, 2])
def test_fewer_images_than_components(images):
    projection = Projection(FEATURE_SIZES, 13, 48, components=sum(FEATURE_SIZES))
    seen = torch.randn(images, sum(FEATURE_SIZES))
    projection.whiten(*projection.whitening(seen))
    assert projection(torch.randn(3, sum(FEATURE_SIZES))).isfinite().all()
    values = (normalised(seen) - projection.mean) @ projection.axes
    assert values.square().mean(dim=0).max() <= 1.001


def test_an_adapter_with_components_is_saved_and_one_from_before_them_read(tmp_path):
    adapter = Adapter(replace(SMALL, components=4))
    adapter.projection.whiten(*adapter.projection.whitening(torch.randn(9, sum(FEATURE_SIZES))))
    save_adapter(adapter, {}, tmp_path)
    assert torch.equal(load_adapter(tmp_path)[0].projection.axes, adapter.projection.axes)
    save_adapter(Adapter(SMALL), {}, tmp_path)
    path = tmp_path / "adapter_config.json"
    before = json.loads(path.read_text())
    del before["components"]
    path.write_text(json.dumps(before))
    assert load_adapter(tmp_path)[0].config == SMALL


def test_saved_and_loaded_is_the_same(tmp_path):
    adapter = Adapter(SMALL, seed=5)
    save_adapter(adapter, {"llm": "some", "input": {"answer": "letter"}}, tmp_path)
    loaded, about = load_adapter(tmp_path)
    assert loaded.config == SMALL
    assert about == {"llm": "some", "input": {"answer": "letter"}}
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in adapter.state_dict().items())
    assert set(load_file(tmp_path / "adapter.safetensors")) == {
        "prompts", "gates", "projection.mlp.0.weight", "projection.mlp.0.bias",
        "projection.mlp.2.weight", "projection.mlp.2.bias",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.safetensors", "adapter_config.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "the format is not mmadapter-1"),
        ({"gate_activation": "relu"}, "no gate activation 'relu'"),
        ({"attention": "causal"}, "no attention 'causal': choose zero-init or rand-init"),
        ({"adapter_len": 4}, "not this adapter's weights"),
        ({"hidden_size": None}, "not an adapter's configuration"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, change, message):
    save_adapter(Adapter(SMALL), {}, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_adapter(tmp_path)


def test_a_configuration_that_says_something_twice_is_refused(tmp_path):
    save_adapter(Adapter(SMALL), {}, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text().replace('"adapter_len"', '"adapter_len": 1, "adapter_len"', 1))
    with pytest.raises(UserError, match="it must have exactly one entry adapter_len"):
        load_adapter(tmp_path)


def test_missing_or_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no adapter here: there is no adapter_config.json"):
        load_adapter(tmp_path)
    save_adapter(Adapter(SMALL), {}, tmp_path)
    weights = tmp_path / "adapter.safetensors"
    save_file({"prompts": torch.zeros(2, 5, 48)}, weights)
    with pytest.raises(UserError, match=r"adapter.safetensors: not this adapter's weights: .*gates"):
        load_adapter(tmp_path)
    weights.write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"adapter.safetensors: not this adapter's weights"):
        load_adapter(tmp_path)


def test_rand_init_has_no_gates_and_its_files_say_so(tmp_path):
    config = replace(SMALL, attention="rand-init")
    adapter = Adapter(config, seed=5)
    assert adapter.gates is None
    assert adapter().gates is None
    assert torch.equal(adapter.prompts, Adapter(SMALL, seed=5).prompts)
    save_adapter(adapter, {}, tmp_path)
    assert "gates" not in load_file(tmp_path / "adapter.safetensors")
    assert load_adapter(tmp_path)[0].config == config


def test_a_file_that_does_not_name_its_attention_is_older_than_the_choice(tmp_path):
    save_adapter(Adapter(SMALL), {}, tmp_path)
    path = tmp_path / "adapter_config.json"
    saved = json.loads(path.read_text())
    assert saved.pop("attention") == "zero-init"
    path.write_text(json.dumps(saved))
    assert load_adapter(tmp_path)[0].config == SMALL
