"""The activations that encoders' configs name."""

from collections.abc import Callable

import mlx.core as mx
from mlx.nn.layers.activations import gelu, gelu_approx, relu, silu

from services.runner.engine.not_loadable import NotLoadable

Activation = Callable[[mx.array], mx.array]

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_new": gelu_approx,
    "gelu_pytorch_tanh": gelu_approx,
    "relu": relu,
    "silu": silu,
    "swish": silu,
    "tanh": mx.tanh,
}


def activation(name: str) -> Activation:
    """Raises NotLoadable."""
    if name not in _ACTIVATIONS:
        raise NotLoadable(
            f"its layers use {name}, which is not known here: {', '.join(_ACTIVATIONS)} are"
        )
    return _ACTIVATIONS[name]
