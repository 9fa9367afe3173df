"""From the states of a text's tokens to its vector."""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear

from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.pooling import normalized, pooled
from services.runner.engine.embedding.recipe import Dense, Recipe
from services.runner.engine.not_loadable import NotLoadable


class Vector(Module):
    """The recipe's steps. Its last is always to make the length 1."""

    def __init__(self, recipe: Recipe, hidden: int) -> None:
        """Raises NotLoadable."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._pooling = recipe.pooling
        self._steps = recipe.steps
        self._size = hidden * len(recipe.pooling)
        self.layers = []
        for step in recipe.steps:
            if isinstance(step, Dense):
                self.layers.append(_layer(step.folder, self._size))
                self._size = self.layers[-1].weight.shape[0]

    @property
    def size(self) -> int:
        return self._size

    def __call__(self, states: mx.array, page: Page) -> mx.array:
        vectors = pooled(states, page, self._pooling)
        layers = iter(self.layers)
        for step in self._steps:
            if isinstance(step, Dense):
                vectors = next(layers)(vectors)
                vectors = mx.tanh(vectors) if step.activation == "Tanh" else vectors
            else:
                vectors = normalized(vectors)
        return normalized(vectors)


def _layer(folder: Path, inputs: int) -> Linear:
    try:
        weights: Any = mx.load(str(folder / "model.safetensors"))
        weight = weights["linear.weight"].astype(mx.float32)
    except (OSError, RuntimeError, KeyError) as missing:
        raise NotLoadable(
            f"{folder} lacks its weights ({missing}): it needs model.safetensors"
        ) from missing
    if weight.shape[1] != inputs:
        raise NotLoadable(f"{folder} takes {weight.shape[1]} numbers, but is given {inputs}")
    layer = Linear(inputs, weight.shape[0], bias="linear.bias" in weights)
    layer.weight = weight
    if "linear.bias" in weights:
        layer.bias = weights["linear.bias"].astype(mx.float32)
    return layer
