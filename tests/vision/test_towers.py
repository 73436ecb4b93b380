import json
import shutil
import sys

import open_clip
import pytest
import torch
from PIL import Image

from mmadapter.errors import UserError
from mmadapter.storage.paths import assets_dir
from mmadapter.vision.open_clip_towers import import_open_clip
from mmadapter.vision.towers import load_tower

from .conftest import RESNET, VIT

SIGLIP = {"timm_model_name": "test_vit3", "timm_proj": "none", "timm_pool": "", "image_size": 160}
REGISTERS = {"timm_model_name": "test_vit2", "timm_proj": "none", "timm_pool": "avg", "image_size": 160}
CLASS_TOKEN = {"timm_model_name": "test_vit", "timm_proj": "linear", "timm_pool": "token", "image_size": 160}
CONVNEXT = {"timm_model_name": "test_convnext", "timm_proj": "linear", "timm_pool": "avg", "image_size": 64}


def images(tower, count=3):
    return torch.randn(count, 3, *tower.image_size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_class_tokens_of_an_open_clip_vit(save_open_clip):
    folder = save_open_clip(VIT)
    tower = load_tower(str(folder), scales=3)
    pixels = images(tower)
    visual = open_clip.create_model(f"local-dir:{folder}").visual.eval()
    tokens = visual.conv1(pixels).flatten(2).mT
    tokens = torch.cat([visual.class_embedding.expand(3, 1, -1), tokens], dim=1) + visual.positional_embedding
    tokens = visual.ln_pre(tokens)
    expected = []
    for index, block in enumerate(visual.transformer.resblocks):
        tokens = block(tokens)
        if index in (1, 2, 4):  # 5 blocks at 3 scales
            expected.append(tokens[:, 0])
    assert tower.feature_sizes == (24, 24, 24)
    torch.testing.assert_close(tower.encode(pixels), torch.cat(expected, dim=1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_class_tokens_of_transformers_clip(transformers_clip):
    folder, model = transformers_clip
    tower = load_tower(str(folder), scales=3)
    pixels = images(tower)
    vision = model.vision_model
    states = vision.pre_layrnorm(vision.embeddings(pixels))
    expected = []
    for index, layer in enumerate(vision.encoder.layers):
        states = layer(states, attention_mask=None)
        if index in (1, 2, 4):
            expected.append(states[:, 0])
    assert tower.feature_sizes == (24, 24, 24)
    torch.testing.assert_close(tower.encode(pixels), torch.cat(expected, dim=1), rtol=0, atol=1e-5)


def timm_trunk(folder):
    return open_clip.create_model(f"local-dir:{folder}").visual.trunk.eval()


@torch.no_grad()
def test_class_tokens_of_a_timm_vit(save_open_clip):
    folder = save_open_clip(CLASS_TOKEN)
    tower = load_tower(str(folder), scales=2)
    pixels, trunk = images(tower), timm_trunk(folder)
    tokens = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))
    expected = []
    for index, block in enumerate(trunk.blocks):
        tokens = block(tokens)
        if index in (2, 5):
            expected.append(tokens[:, 0])
    torch.testing.assert_close(tower.encode(pixels), torch.cat(expected, dim=1), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("vision", "registers"), [(SIGLIP, 1), (REGISTERS, 1)])
def test_mean_patch_token_without_a_class_token(save_open_clip, vision, registers):
    folder = save_open_clip(vision)
    tower = load_tower(str(folder), scales=1)
    pixels, trunk = images(tower), timm_trunk(folder)
    tokens = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))
    assert tokens.shape[1] == trunk.patch_embed.num_patches + registers
    for block in trunk.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(tower.encode(pixels), tokens[:, registers:].mean(dim=1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_pooled_stages_and_image_feature_of_a_convolutional_tower(save_open_clip):
    folder = save_open_clip(CONVNEXT)
    tower = load_tower(str(folder), scales=3)
    pixels, trunk = images(tower), timm_trunk(folder)
    maps = trunk.stem(pixels)
    pooled = []
    for stage in trunk.stages:
        maps = stage(maps)
        pooled.append(maps.mean(dim=(2, 3)))
    image_feature = open_clip.create_model(f"local-dir:{folder}").visual.eval()(pixels)
    expected = torch.cat([*pooled[-2:], image_feature], dim=1)
    assert tower.feature_sizes == (pooled[-2].shape[1], pooled[-1].shape[1], 11)
    torch.testing.assert_close(tower.encode(pixels), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_quarters_of_the_last_map_as_one_scale_more(save_open_clip):
    folder = save_open_clip(RESNET | {"image_size": 96})  # a last map of 3 x 3
    tower, plain = load_tower(str(folder), scales=7), load_tower(str(folder), scales=6)
    pixels = images(tower)
    visual = open_clip.create_model(f"local-dir:{folder}").visual.eval()
    maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    rows, columns = [(slice(-(-side // 2)), slice(side // 2, None)) for side in maps.shape[2:]]  # overlap where odd
    means = [maps[:, :, row, column].mean(dim=(2, 3)) for row in rows for column in columns]
    quarters = tower.encode(pixels)[:, sum(plain.feature_sizes) :].unflatten(1, (-1, 4))
    torch.testing.assert_close(tower.encode(pixels)[:, : sum(plain.feature_sizes)], plain.encode(pixels))
    torch.testing.assert_close(quarters, torch.stack(means, dim=-1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_pooled_stages_and_image_feature_of_a_clip_resnet(save_open_clip):
    folder = save_open_clip(RESNET)
    tower = load_tower(str(folder), scales=2)
    pixels = images(tower)
    visual = open_clip.create_model(f"local-dir:{folder}").visual.eval()
    maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    expected = torch.cat([maps.mean(dim=(2, 3)), visual(pixels)], dim=1)
    torch.testing.assert_close(tower.encode(pixels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("vision", [VIT, RESNET, SIGLIP, CONVNEXT], ids=["vit", "resnet", "siglip", "convnext"])
def test_an_image_has_the_same_features_in_every_batch(save_open_clip, vision):
    tower = load_tower(str(save_open_clip(vision)), scales=2)
    pixels = images(tower, 5)
    alone = torch.cat([tower.encode(image[None]) for image in pixels])
    torch.testing.assert_close(tower.encode(pixels), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vision", [VIT, RESNET, CONVNEXT], ids=["vit", "resnet", "convnext"])
def test_only_the_frozen_image_half_is_kept(save_open_clip, vision):
    folder = save_open_clip(vision)
    tower = load_tower(str(folder), scales=2)
    visual = open_clip.create_model(f"local-dir:{folder}").visual
    assert tower.model.state_dict().keys() == visual.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in tower.model.parameters())
    assert not tower.model.training


def test_transformers_text_half_is_not_kept(transformers_clip):
    folder, model = transformers_clip
    count = sum(p.numel() for p in load_tower(str(folder), scales=2).model.parameters())
    assert count == sum(p.numel() for p in model.vision_model.parameters())


def test_preprocessing_is_the_towers_own(save_open_clip, transformers_clip):
    red = Image.new("RGB", (50, 30), (255, 0, 0))
    expected = torch.tensor([2.0, -2.0, -2.0])[:, None, None].expand(3, 28, 28)  # (x - 0.5) / 0.25
    for folder in (save_open_clip(VIT), transformers_clip[0]):
        torch.testing.assert_close(load_tower(str(folder)).preprocess(red), expected)


def test_weights_are_read_only_when_an_image_is_encoded(save_open_clip, monkeypatch):
    tower = load_tower(str(save_open_clip(VIT)))
    monkeypatch.setattr(open_clip, "load_checkpoint", None)
    assert tower.feature_sizes == (24,) * 4
    assert len(tower.fingerprint) == 64
    with pytest.raises(UserError, match="do not fit"):
        tower.encode(images(tower))


def test_fingerprint_knows_content_and_not_names(save_open_clip, tmp_path):
    folder = save_open_clip(VIT)
    here = load_tower(str(folder)).fingerprint
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert load_tower(f"local-dir:{moved}").fingerprint == here
    others = [
        load_tower(str(folder), scales=3),
        load_tower(str(save_open_clip(VIT, seed=1, name="other weights"))),
        load_tower(str(with_preprocessing(folder, tmp_path / "other preprocessing", mean=[0.4] * 3))),
    ]
    assert len({here, *(tower.fingerprint for tower in others)}) == 4


def with_preprocessing(folder, target, **changes):
    shutil.copytree(folder, target)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= changes
    (target / "open_clip_config.json").write_text(json.dumps(config))
    return target


def test_half_precision_computation_gives_float32_features(save_open_clip):
    folder = save_open_clip(VIT)
    tower = load_tower(str(folder), scales=2, dtype=torch.bfloat16)
    features = tower.encode(images(tower))
    assert features.dtype == torch.float32
    exact = load_tower(str(folder), scales=2).encode(images(tower))
    torch.testing.assert_close(features, exact, rtol=0, atol=0.1)  # bfloat16 has 8 bits, values are around 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no such folder"),
        ("local-dir:nowhere", "no such folder"),
        ("a/b/c", "no such image tower"),
        ("ViT-L-14", r"ViT-L-14: which weights\? open_clip knows: ViT-L-14/openai, "),
        ("ViT-L-14/nobody", r"ViT-L-14/nobody: which weights\?"),
        ("ViT-L-14/openai", "use ViT-L-14-quickgelu/openai"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", r"which weights\?"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(UserError, match=message):
        load_tower(name)


@pytest.mark.parametrize(("vision", "most"), [(VIT, 5), (RESNET, 7), (CONVNEXT, 6)], ids=["vit", "resnet", "convnext"])
def test_more_scales_than_the_tower_has(save_open_clip, vision, most):
    folder = save_open_clip(vision)
    assert len(load_tower(str(folder), scales=most).feature_sizes) == most
    with pytest.raises(UserError, match=f"choose 1 to {most}"):
        load_tower(str(folder), scales=most + 1)


def test_folders_without_a_tower_or_weights(save_open_clip, transformers_clip, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no image tower"):
        load_tower(str(empty))
    folder = save_open_clip(VIT)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        load_tower(str(folder))
    folder, _ = transformers_clip
    (folder / "preprocessor_config.json").rename(folder / "kept.json")
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        load_tower(str(folder))
    (folder / "kept.json").rename(folder / "preprocessor_config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        load_tower(str(folder))


def test_weights_of_another_shape(save_open_clip, transformers_clip):
    folder = save_open_clip(VIT)
    other = save_open_clip({**VIT, "width": 32}, name="wider")
    shutil.copy(other / "open_clip_model.safetensors", folder)
    tower = load_tower(str(folder))
    with pytest.raises(UserError, match=r"open_clip_model\.safetensors: these weights do not fit"):
        tower.encode(images(tower))


def test_missing_weights_are_not_made_up(transformers_clip):
    from safetensors.torch import load_file, save_file

    folder, _ = transformers_clip
    tensors = load_file(folder / "model.safetensors")
    missing = next(key for key in tensors if "vision_model.encoder.layers.3" in key)
    del tensors[missing]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tower = load_tower(str(folder))
    with pytest.raises(UserError, match="1 weights are missing"):
        tower.encode(images(tower))


def test_a_language_model_is_no_tower(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UserError, match="'llama' model"):
        load_tower(str(tmp_path))


def test_torchvision_of_another_build(monkeypatch):
    class Mismatch:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.setattr(sys, "meta_path", [Mismatch, *sys.meta_path])
    with pytest.raises(UserError, match="install both from the same index"):
        import_open_clip()


def test_loading_warns_of_nothing(save_open_clip, transformers_clip, capfd, caplog):
    folders = (save_open_clip(VIT), transformers_clip[0])
    capfd.readouterr()
    caplog.clear()  # saving them was not silent
    for folder in folders:
        tower = load_tower(str(folder))
        tower.encode(images(tower))
    assert not caplog.records
    assert "UNEXPECTED" not in capfd.readouterr().err  # transformers' progress bar may be there


def test_embedded_efficientnet_lite0():
    """The final feature is that of the converter's own network (see eval/backbones/efficientnet_lite0.py).

    Computed by `extract_features(x).mean((2, 3))` of efficientnet-lite-pytorch 0.1.0 in float32; timm's other
    Lite0, with the same shapes, gives another feature.
    """
    tower = load_tower(str(assets_dir() / "efficientnet-lite0"), scales=6)
    assert tower.feature_sizes == (16, 24, 40, 112, 320, 1280)
    pixels = torch.linspace(-40, 40, 3 * 224 * 224).sin().view(1, 3, 224, 224)
    final = tower.encode(pixels)[0, -1280:]
    largest = {113: 5.8585, 36: 5.5952, 66: 5.4391, 848: 4.9949, 360: 4.8627, 327: 4.7293}
    expected = torch.tensor(list(largest.values()))
    torch.testing.assert_close(final[list(largest)], expected, rtol=3e-3, atol=0)  # kernels in half precision
    assert final.topk(6).indices.tolist() == list(largest)
