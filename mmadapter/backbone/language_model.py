"""A frozen decoder with its tokenizer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

_ARCHITECTURE = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "vocab_size", "hidden_act", "rms_norm_eps", "rope_theta", "rope_parameters"),
    *("tie_word_embeddings", "attention_bias", "layer_types", "sliding_window", "no_rope_layers"),
    *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
)
"""The configuration fields that an adapter depends on; they make up the fingerprint."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen decoder and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    """The name that the user gave: a hub id, a folder, a GGUF file or an embedded model."""
    weights: str | None = None
    """`model_files.weights_key` of the files it was loaded from; None for a model made in memory."""

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, from the embedding upwards."""
        return self.model.get_decoder().layers

    def logits(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        """Return the logits of the decoder's normed output, capped where the model does so (Gemma 2)."""
        logits = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else (logits / cap).tanh() * cap

    @property
    def fingerprint(self) -> str:
        """Hash of architecture and vocabulary: an adapter fits only a model with the fingerprint it was trained on."""
        config = self.model.config.to_dict()
        known = {name: config[name] for name in _ARCHITECTURE if config.get(name) is not None}
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps([known, vocabulary], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def bos(self) -> list[int]:
        """The tokens that the tokenizer puts before a text: [bos] or nothing."""
        first = self.tokenizer("a").input_ids[:1]
        return first if first == [self.tokenizer.bos_token_id] else []
