"""Presets and the configuration file."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmadapter.config.files import config_yaml, differences, read_settings
from mmadapter.config.presets import PRESET_DEPTH, PRESETS, adapted_layers, preset_config
from mmadapter.config.settings import InputFormat, Recipe, RunConfig
from mmadapter.errors import UserError
from tests.tiny import tiny_lm


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_written_and_read_is_the_same(preset, tmp_path):
    config = replace(PRESETS[preset], data_dir=(Path("a"), Path("b c")), output_dir=Path("runs/x"))
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(config))
    values = read_settings(file)
    values["data_dir"] = tuple(map(Path, values["data_dir"]))
    values["output_dir"] = Path(values["output_dir"])
    assert type(config)(**values) == config
    assert differences(file, replace(config, output_dir=Path("elsewhere"))) == []
    assert differences(file, replace(config, seed=7, epochs=99)) == ["epochs", "seed"]


def test_a_run_older_than_a_setting_has_its_default(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(PRESETS["tiny"]).replace("attention: zero-init\n", ""))
    assert "attention" not in file.read_text()
    assert differences(file, PRESETS["tiny"]) == []
    assert differences(file, replace(PRESETS["tiny"], attention="rand-init")) == ["attention"]


def test_the_default_preset_follows_the_data_set():
    assert preset_config(None, None).preset == "tiny"
    assert preset_config(None, "demo").preset == "tiny"
    assert preset_config(None, "scienceqa").preset == "small"
    assert preset_config("tiny", "scienceqa").dataset == "scienceqa"


def test_the_paper_preset_is_the_papers():
    """Sections 4.1 and 5.1, Tables 4 and 6."""
    paper = PRESETS["paper"]
    assert (paper.adapter_len, paper.adapter_layers, PRESET_DEPTH["paper"]) == (10, 30, 32)
    assert (paper.epochs, paper.batch_size, paper.warmup_epochs, paper.weight_decay) == (30, 64, 2.0, 0.02)
    assert paper.learning_rate * 256 / paper.batch_size == pytest.approx(9e-3)
    assert (paper.answer, paper.prompt_std, paper.scales) == ("letter", 1.0, 4)


def test_layers_keep_their_share_of_another_depth_but_a_number_stands():
    open_number = replace(PRESETS["paper"], adapter_layers=None)
    assert adapted_layers(open_number, 32) == 30
    assert adapted_layers(open_number, 16) == 15
    assert adapted_layers(replace(open_number, adapter_layers=12), 16) == 12


def test_the_embedded_depth_is_the_presets():
    from transformers import AutoConfig

    from mmadapter.storage.paths import embedded

    depth = AutoConfig.from_pretrained(embedded(PRESETS["tiny"].llm)).num_hidden_layers
    assert depth == PRESET_DEPTH["tiny"] == PRESETS["tiny"].adapter_layers
    assert len(tiny_lm().layers) != depth  # the tests' own is another


def test_parts_of_a_run():
    small = PRESETS["small"]
    assert small.part(InputFormat) == InputFormat(answer="text")
    assert small.part(Recipe).learning_rate == small.learning_rate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adapter_length: 3", r"no such setting: adapter_length: did you mean adapter_len\?\n  settings: "),
        ("- 1", "no settings in it"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_settings(file)
    assert str(file) in str(error.value)
    with pytest.raises(UserError, match=r"none.yaml: cannot be read"):
        read_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"learning_rate": 0.0}])
def test_numbers_below_their_least_value(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_instructions_bring_their_own_settings():
    """Five epochs for Alpaca, thirty for ScienceQA: section 4.1 of the paper and its Table 6."""
    paper = preset_config("paper", "alpaca")
    assert (paper.epochs, paper.split, paper.variant, paper.answer) == (5, "val", "text", "response")
    assert preset_config(None, "alpaca").preset == "small"
    assert preset_config(None, "demo-instructions").preset == "tiny"
    for wrong in ({"answer": "letter"}, {"variant": "both"}, {"scoring": "likelihood"}, {"choice_loss": 1.0}):
        with pytest.raises(UserError, match="alpaca: instructions have no image and no options"):
            replace(paper, **wrong)
    with pytest.raises(UserError, match="scienceqa: questions are not instructions: choose --answer letter or text"):
        replace(PRESETS["paper"], answer="response")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choice_loss": -0.1}, "choice_loss is -0.1: it must be at least 0"),
    ],
)
def test_a_loss_on_the_choice_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        RunConfig(**settings)
