"""Tiny models built in memory: nothing is downloaded, and every size is one that no other axis has."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.model import MultimodalAdapter
from mmadapter.vision.towers import ImageTower

LAYERS, HEADS, KEY_HEADS, HEAD_SIZE, VOCABULARY = 3, 6, 2, 8, 261
HIDDEN = HEADS * HEAD_SIZE
FEATURE_SIZES = (7, 11)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a token, then bos, eos and pad; no text can merge with another."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=2048
    )


def tiny_llama(attention: str = ATTENTION_NAME, seed: int = 0, **changes) -> LlamaForCausalLM:
    """A LLaMA of three layers with grouped-query heads and random weights, in float32."""
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "intermediate_size": 56,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_HEADS,
            "max_position_embeddings": 1024,
            "initializer_range": 0.2,
            "attn_implementation": attention,
            **changes,
        }
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_lm(**changes) -> LanguageModel:
    """The tiny LLaMA with its tokenizer."""
    return LanguageModel(tiny_llama(**changes), byte_tokenizer(), "tiny-in-memory")


class FixedTower(ImageTower):
    """Stands for an image tower where the features are given by the test."""

    def __init__(self, fingerprint: str = "0" * 64) -> None:
        self.name, self.fingerprint, self.feature_sizes = "fixed", fingerprint, FEATURE_SIZES


def tiny_model(*, text_only: bool = False, gate: float | None = None, **settings) -> MultimodalAdapter:
    """An adapter on the tiny LLaMA; `gate` sets every gate, drawn around it so that no two heads agree."""
    settings = {"adapter_len": 5, "adapter_layers": 2, "projection_hidden": 13, **settings}
    model = MultimodalAdapter.build(tiny_lm(), None if text_only else FixedTower(), **settings)
    if gate is not None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            model.adapter.gates.copy_(gate + 0.3 * torch.randn(model.adapter.gates.shape, generator=generator))
    return model
