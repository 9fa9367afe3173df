"""From the states of a query and a document to how well the one answers the other: 0 to 1."""

import re
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.normalization import LayerNorm

from services.runner.engine.embedding.activation import activation
from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.pooling import last, pooled
from services.runner.engine.embedding.recipe import Pooling


class CrossEncoderHead(Module):
    """What transformers puts behind an encoder to classify a sequence, with one label."""

    def __init__(self, config: dict[str, Any], hidden: int) -> None:
        """Raises NotLoadable."""
        super().__init__()  # type: ignore[no-untyped-call]
        kind = config["model_type"]
        is_modern = kind == "modernbert"
        self._way: Pooling = config.get("classifier_pooling", "cls") if is_modern else "cls"
        self._activation = activation(_activation_of(config))
        self.dense = Linear(hidden, hidden, bias=not is_modern or _has_bias(config))
        if is_modern:
            eps, bias = config.get("norm_eps", 1e-5), config.get("norm_bias", False)
            self.norm = LayerNorm(hidden, eps, bias=bias)
        self.out = Linear(hidden, 1)

    def __call__(self, states: mx.array, page: Page) -> mx.array:
        found = self._activation(self.dense(pooled(states, page, (self._way,))))
        if "norm" in self:
            found = self.norm(found)
        return mx.sigmoid(self.out(found))


def _activation_of(config: dict[str, Any]) -> str:
    match config["model_type"]:
        case "distilbert":
            return "relu"
        case "modernbert":
            return str(config.get("classifier_activation", "gelu"))
        case _:
            return "tanh"


def _has_bias(config: dict[str, Any]) -> bool:
    return bool(config.get("classifier_bias", False))


_NAMES = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^(pooler\.dense|pre_classifier|classifier\.dense)\.", "head.dense."),
        (r"^(classifier\.out_proj|classifier)\.", "head.out."),
    )
]


def name_of(theirs: str) -> str:
    """Our name of a weight of the head; others stay as they are."""
    for pattern, ours in _NAMES:
        theirs = pattern.sub(ours, theirs)
    return theirs


class YesOrNo:
    """How much likelier than ``no`` a language model's next word is ``yes``."""

    def __init__(self, model: Module, yes: int, no: int) -> None:
        self._model: Any = model
        self._words = [no, yes]

    def __call__(self, states: mx.array, page: Page) -> mx.array:
        found = last(states, page)
        if "lm_head" in self._model:
            logits = self._model.lm_head(found)
        else:
            logits = self._model.model.embed_tokens.as_linear(found)
        pair = logits[:, self._words].astype(mx.float32)
        return mx.softmax(pair, axis=-1)[:, 1:]
