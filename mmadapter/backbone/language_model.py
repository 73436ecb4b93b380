"""A frozen decoder with its tokenizer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

_ARCHITECTURE = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "vocab_size", "hidden_act", "rms_norm_eps", "rope_theta", "rope_parameters"),
    *("tie_word_embeddings", "attention_bias", "layer_types", "sliding_window", "no_rope_layers"),
    *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
)
"""The fields of a configuration that decide what an adapter was trained on."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen decoder and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    """What the user called it: a hub id, a folder, a GGUF file or an embedded model."""

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, the first one first."""
        return self.model.get_decoder().layers

    def logits(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        """Of the decoder's normed output; within the bound of a model that has one, +-final_logit_softcapping."""
        logits = self.model.get_output_embeddings()(hidden)
        bound = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if bound is None else (logits / bound).tanh() * bound

    @property
    def fingerprint(self) -> str:
        """Hash of the configuration and the vocabulary: what tells whether an adapter fits."""
        config = self.model.config.to_dict()
        known = {name: config[name] for name in _ARCHITECTURE if config.get(name) is not None}
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps([known, vocabulary], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def bos(self) -> list[int]:
        """The tokens that this model's own tokenizer puts before a text: [bos] or nothing."""
        first = self.tokenizer("a").input_ids[:1]
        return first if first == [self.tokenizer.bos_token_id] else []
