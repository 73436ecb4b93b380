"""GGUF files: packed numbers become those that they stand for; the matrix of families has one in float32."""

import numpy as np
import torch
from transformers import LlamaConfig

from mmadapter.backbone.loading import load_llm
from tests.backbone.families import SHAPE, random_model
from tests.backbone.gguf_file import write_gguf


def test_packed_weights_are_the_numbers_that_they_stand_for(tmp_path):
    config = LlamaConfig(**SHAPE | {"hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 2})
    model = random_model(config)
    expected = write_gguf(tmp_path / "model.gguf", model, packed=True)
    llm = load_llm(str(tmp_path / "model.gguf"))
    for name, weight in llm.model.state_dict().items():
        assert np.array_equal(weight.numpy(), expected[name]), name
        step = model.state_dict()[name].abs().max() / 127
        assert (weight - model.state_dict()[name]).abs().max() <= 0.6 * step, name
    assert expected.keys() == llm.model.state_dict().keys()
    assert load_llm(str(tmp_path / "model.gguf"), dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_the_tokenizer_in_the_file(tmp_path):
    write_gguf(tmp_path / "model.gguf", random_model(LlamaConfig(**SHAPE)))
    llm = load_llm(str(tmp_path / "model.gguf"))
    tokens = llm.tokenizer("the \u00bd the", add_special_tokens=False).input_ids
    assert len(tokens) == 1 + 1 + 2 + 1 + 1  # two merges make a token of "the"; a half has two bytes
    assert llm.tokenizer.decode(tokens) == "the \u00bd the"
    assert (llm.tokenizer.bos_token, llm.tokenizer.eos_token, llm.tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    assert len(llm.tokenizer) == llm.model.config.vocab_size
