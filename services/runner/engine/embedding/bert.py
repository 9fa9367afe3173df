"""BERT and its family: encoders whose layers end in a normalisation.

RoBERTa, XLM-RoBERTa and CamemBERT count positions from behind the padding token's id;
DistilBERT tells no two texts apart; MPNet adds a bias for the distance of two tokens.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.normalization import LayerNorm

from services.runner.engine.embedding.activation import activation
from services.runner.engine.embedding.page import Page
from services.runner.engine.not_loadable import NotLoadable

FARTHEST = 128
"""Tokens farther apart than this have MPNet's last bias."""
_FROM_BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")


@dataclass(frozen=True, kw_only=True)
class Shape:
    vocab_size: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    positions: int
    """Rows of the table of positions."""
    first_position: int = 0
    text_types: int = 0
    """Kinds of texts told apart; none: the model has no table of them."""
    distances: int = 0
    """Rows of the table of distances; none: positions alone tell where a token stands."""
    eps: float
    activation: str


def shape_of(config: dict[str, Any]) -> Shape:
    """Raises NotLoadable, KeyError."""
    kind = config["model_type"]
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise NotLoadable("its positions are relative to one another, which is not known here")
    if kind == "distilbert":
        return Shape(
            vocab_size=config["vocab_size"],
            hidden=config["dim"],
            layers=config["n_layers"],
            heads=config["n_heads"],
            feed_forward=config["hidden_dim"],
            positions=config["max_position_embeddings"],
            eps=1e-12,
            activation=config.get("activation", "gelu"),
        )
    is_mpnet = kind == "mpnet"
    is_late = kind in _FROM_BEHIND_PADDING
    return Shape(
        vocab_size=config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        feed_forward=config["intermediate_size"],
        positions=config["max_position_embeddings"],
        first_position=config.get("pad_token_id", 1) + 1 if is_late else 0,
        text_types=0 if is_mpnet else config.get("type_vocab_size", 2),
        distances=config.get("relative_attention_num_buckets", 32) if is_mpnet else 0,
        eps=config.get("layer_norm_eps", 1e-12),
        activation=config.get("hidden_act", "gelu"),
    )


class Bert(Module):
    def __init__(self, config: dict[str, Any]) -> None:
        """Raises NotLoadable, KeyError."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._shape = shape = shape_of(config)
        self.words = Embedding(shape.vocab_size, shape.hidden)
        self.positions = Embedding(shape.positions, shape.hidden)
        if shape.text_types:
            self.types = Embedding(shape.text_types, shape.hidden)
        if shape.distances:
            self.distances = Embedding(shape.distances, shape.heads)
        self.norm = LayerNorm(shape.hidden, shape.eps)
        self.layers = [Layer(shape) for _ in range(shape.layers)]

    @property
    def hidden(self) -> int:
        return self._shape.hidden

    @property
    def vocab_size(self) -> int:
        return self._shape.vocab_size

    @property
    def longest(self) -> int:
        return self._shape.positions - self._shape.first_position

    def stages(self, page: Page) -> Iterator[mx.array]:
        """The rows' states after each layer: rows by width by ``hidden``."""
        states = self._embedded(page)
        mask = self._mask(page, states.dtype)
        for layer in self.layers:
            states = layer(states, mask)
            yield states

    def _embedded(self, page: Page) -> mx.array:
        places = mx.arange(page.width) + self._shape.first_position
        states: mx.array = self.words(page.ids) + self.positions(places)[None]
        if self._shape.text_types:
            states = states + self.types(mx.minimum(page.types, self._shape.text_types - 1))
        normed: mx.array = self.norm(states)
        return normed

    def _mask(self, page: Page, dtype: mx.Dtype) -> mx.array | None:
        if not self._shape.distances:
            return None if page.is_full else page.mask[:, None, None]
        bias = self.distances(_buckets(page.width, self._shape.distances))
        bias = bias.transpose(2, 0, 1)[None].astype(dtype)
        return bias if page.is_full else mx.where(page.mask[:, None, None], bias, -mx.inf)


class Layer(Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._heads = shape.heads
        self._activation = activation(shape.activation)
        hidden = shape.hidden
        self.query = Linear(hidden, hidden)
        self.key = Linear(hidden, hidden)
        self.value = Linear(hidden, hidden)
        self.out = Linear(hidden, hidden)
        self.attention_norm = LayerNorm(hidden, shape.eps)
        self.up = Linear(hidden, shape.feed_forward)
        self.down = Linear(shape.feed_forward, hidden)
        self.norm = LayerNorm(hidden, shape.eps)

    def __call__(self, states: mx.array, mask: mx.array | None) -> mx.array:
        states = self.attention_norm(states + self._attended(states, mask))
        normed: mx.array = self.norm(states + self.down(self._activation(self.up(states))))
        return normed

    def _attended(self, states: mx.array, mask: mx.array | None) -> mx.array:
        rows, width, hidden = states.shape
        query, key, value = (
            of(states).reshape(rows, width, self._heads, -1).transpose(0, 2, 1, 3)
            for of in (self.query, self.key, self.value)
        )
        seen = mx.fast.scaled_dot_product_attention(
            query, key, value, scale=(hidden // self._heads) ** -0.5, mask=mask
        )
        return self.out(seen.transpose(0, 2, 1, 3).reshape(rows, width, hidden))


def _buckets(width: int, buckets: int) -> mx.array:
    """Which bias two tokens have, width by width.

    Half of the table is for tokens to the right; of each half, half is for single
    distances and the rest for ever wider ranges of them, as T5 has it.
    """
    places = mx.arange(width)
    offset = places[None] - places[:, None]
    half = buckets // 2
    near = half // 2
    distance = mx.abs(offset)
    far = near + (
        mx.log(mx.maximum(distance, 1) / near) / math.log(FARTHEST / near) * (half - near)
    ).astype(mx.int32)
    bucket = mx.where(distance < near, distance, mx.minimum(far, half - 1))
    return bucket + half * (offset > 0)


_NAMES = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^(bert|roberta|camembert|distilbert|mpnet)\.", ""),
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"^embeddings\.word_embeddings\.", "words."),
        (r"^embeddings\.position_embeddings\.", "positions."),
        (r"^embeddings\.token_type_embeddings\.", "types."),
        (r"^embeddings\.LayerNorm\.", "norm."),
        (r"^encoder\.relative_attention_bias\.", "distances."),
        (r"^(encoder|transformer)\.layer\.", "layers."),
        (r"\.attention\.(self|attn)\.", "."),
        (r"\.attention\.output\.dense\.", ".out."),
        (r"\.attention\.(output\.)?LayerNorm\.", ".attention_norm."),
        (r"\.intermediate\.dense\.", ".up."),
        (r"^(layers\.\d+)\.output\.dense\.", r"\1.down."),
        (r"^(layers\.\d+)\.output\.LayerNorm\.", r"\1.norm."),
        # DistilBERT
        (r"\.attention\.(q|k|v|out)_lin\.", r".\1."),
        (r"\.sa_layer_norm\.", ".attention_norm."),
        (r"\.ffn\.lin1\.", ".up."),
        (r"\.ffn\.lin2\.", ".down."),
        (r"\.output_layer_norm\.", ".norm."),
        # these two and MPNet
        (r"^(layers\.\d+)\.q\.", r"\1.query."),
        (r"^(layers\.\d+)\.k\.", r"\1.key."),
        (r"^(layers\.\d+)\.v\.", r"\1.value."),
        (r"^(layers\.\d+)\.o\.", r"\1.out."),
    )
]


def name_of(theirs: str) -> str:
    """Our name of a weight that transformers wrote."""
    for pattern, ours in _NAMES:
        theirs = pattern.sub(ours, theirs)
    return theirs
