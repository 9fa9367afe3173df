"""ModernBERT: an encoder with rotary positions, gated layers and mostly local attention.

https://arxiv.org/abs/2412.13663
"""

import re
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.normalization import LayerNorm
from mlx.nn.layers.positional_encoding import RoPE

from services.runner.engine.embedding.activation import activation
from services.runner.engine.embedding.page import Page
from services.runner.engine.not_loadable import NotLoadable

GLOBAL_THETA, LOCAL_THETA = 160_000.0, 10_000.0


class ModernBert(Module):
    def __init__(self, config: dict[str, Any]) -> None:
        """Raises NotLoadable, KeyError."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.hidden: int = config["hidden_size"]
        self.vocab_size: int = config["vocab_size"]
        self.longest: int = config.get("max_position_embeddings", 8192)
        self._reach: int = config.get("local_attention", 128) // 2
        eps, bias = config.get("norm_eps", 1e-5), config.get("norm_bias", False)
        self.words = Embedding(self.vocab_size, self.hidden)
        self.norm = LayerNorm(self.hidden, eps, bias=bias)
        self.layers = [
            Layer(config, is_first=place == 0, is_local=is_local)
            for place, is_local in enumerate(_locals(config))
        ]
        self.final_norm = LayerNorm(self.hidden, eps, bias=bias)

    def stages(self, page: Page) -> Iterator[mx.array]:
        """The rows' states after each layer, at last normalised: rows by width by ``hidden``."""
        states = self.norm(self.words(page.ids))
        everywhere = None if page.is_full else page.mask[:, None, None]
        nearby = self._nearby(page)
        for layer in self.layers:
            states = layer(states, nearby if layer.is_local else everywhere)
            yield states
        yield self.final_norm(states)

    def _nearby(self, page: Page) -> mx.array | None:
        """What a token sees in a local layer: those within reach on either side."""
        if page.width <= self._reach:
            return None if page.is_full else page.mask[:, None, None]
        places = mx.arange(page.width)
        near = mx.abs(places[None] - places[:, None]) <= self._reach
        return near[None, None] & page.mask[:, None, None]


class Layer(Module):
    def __init__(self, config: dict[str, Any], *, is_first: bool, is_local: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        hidden, feed_forward = config["hidden_size"], config["intermediate_size"]
        eps, norm_bias = config.get("norm_eps", 1e-5), config.get("norm_bias", False)
        bias, gate_bias = config.get("attention_bias", False), config.get("mlp_bias", False)
        self.is_local = is_local
        self._is_first = is_first
        self._heads: int = config["num_attention_heads"]
        self._activation = activation(config.get("hidden_activation", "gelu"))
        if not is_first:
            self.attention_norm = LayerNorm(hidden, eps, bias=norm_bias)
        self.joint = Linear(hidden, 3 * hidden, bias=bias)
        self.out = Linear(hidden, hidden, bias=bias)
        self.rotate = RoPE(hidden // self._heads, base=_theta(config, is_local))
        self.norm = LayerNorm(hidden, eps, bias=norm_bias)
        self.up = Linear(hidden, 2 * feed_forward, bias=gate_bias)
        self.down = Linear(feed_forward, hidden, bias=gate_bias)

    def __call__(self, states: mx.array, mask: mx.array | None) -> mx.array:
        # The embedding in front of the first layer is normalised already.
        seen = states if self._is_first else self.attention_norm(states)
        states = states + self._attended(seen, mask)
        value, gate = mx.split(self.up(self.norm(states)), 2, axis=-1)
        return states + self.down(self._activation(value) * gate)

    def _attended(self, states: mx.array, mask: mx.array | None) -> mx.array:
        rows, width, hidden = states.shape
        size = hidden // self._heads
        joint = self.joint(states).reshape(rows, width, 3, self._heads, size)
        query, key, value = joint.transpose(2, 0, 3, 1, 4)
        seen = mx.fast.scaled_dot_product_attention(
            self.rotate(query), self.rotate(key), value, scale=size**-0.5, mask=mask
        )
        return self.out(seen.transpose(0, 2, 1, 3).reshape(rows, width, hidden))


def _locals(config: dict[str, Any]) -> list[bool]:
    """Which layers see only what is near: all but every third, unless the config says."""
    named = config.get("layer_types")
    if named is not None:
        return [name == "sliding_attention" for name in named]
    every = config.get("global_attn_every_n_layers", 3)
    return [bool(place % every) for place in range(config["num_hidden_layers"])]


def _theta(config: dict[str, Any], is_local: bool) -> float:
    """Newer configs have the rotation of each kind of layer in ``rope_parameters``."""
    kind = "sliding_attention" if is_local else "full_attention"
    told = (config.get("rope_parameters") or {}).get(kind) or {}
    if config.get("rope_scaling") or told.get("rope_type", "default") != "default":
        raise NotLoadable("its positions are scaled, which is not known here for ModernBERT")
    older = config.get("local_rope_theta" if is_local else "global_rope_theta")
    return float(told.get("rope_theta") or older or (LOCAL_THETA if is_local else GLOBAL_THETA))


_NAMES = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^model\.", ""),
        (r"^embeddings\.tok_embeddings\.", "words."),
        (r"^embeddings\.norm\.", "norm."),
        (r"\.attn_norm\.", ".attention_norm."),
        (r"\.attn\.Wqkv\.", ".joint."),
        (r"\.attn\.Wo\.", ".out."),
        (r"\.mlp_norm\.", ".norm."),
        (r"\.mlp\.Wi\.", ".up."),
        (r"\.mlp\.Wo\.", ".down."),
    )
]


def name_of(theirs: str) -> str:
    """Our name of a weight that transformers wrote."""
    for pattern, ours in _NAMES:
        theirs = pattern.sub(ours, theirs)
    return theirs
