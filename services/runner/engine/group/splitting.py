"""A rank's part of a model: of every layer, or some of the layers, as mlx-lm's classes can."""

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

from proto.group import Group
from services.runner.engine.not_loadable import NotLoadable

Splitting = Callable[[Module], Module]
"""Makes a model, whose weights were not read yet, into this rank's part of it."""


def splitting(group: Group, ranks: mx.distributed.Group) -> Splitting:
    """What it makes raises NotLoadable for a model that cannot be split so."""
    if group.split == "tensor":
        return lambda model: _sharded(model, ranks)
    layers = [member.layers for member in group.members]
    return lambda model: _staged(model, ranks, layers)


def _sharded(model: Any, ranks: mx.distributed.Group) -> Module:
    if not hasattr(model, "shard"):
        raise NotLoadable(
            f"mlx-lm cannot split the layers of a {_kind(model)}: load it with `--split pipeline` "
            "if it can do that, or on one node"
        )
    count = ranks.size()
    # mlx-lm would cut a head in two without a word.
    uneven = [f"{heads} {name}" for name, heads in _heads(model) if heads % count]
    if uneven:
        raise _indivisible(model, count, f"it has {', '.join(uneven)}")
    try:
        model.shard(ranks)
    except ValueError as refused:
        raise _indivisible(model, count, str(refused)) from refused
    whole: Module = model
    return whole


def _heads(model: Any) -> Iterator[tuple[str, int]]:
    arguments = getattr(model, "args", None)
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(arguments, name, None)
        if isinstance(heads, int):
            yield name.removeprefix("num_").replace("_", " "), heads


def _indivisible(model: Any, count: int, why: str) -> NotLoadable:
    return NotLoadable(
        f"the layers of this {_kind(model)} cannot be split over {count} ranks: {why}. Take a "
        "number of ranks that divides its heads and the width of its layers"
    )


def _staged(model: Any, ranks: mx.distributed.Group, layers: list[int]) -> Module:
    inner: Any = getattr(model, "model", None)
    if not hasattr(inner, "pipeline"):
        raise NotLoadable(
            f"mlx-lm cannot give the layers of a {_kind(model)} to several ranks: load it with "
            "`--split tensor` if it can do that, or on one node"
        )
    count = len(inner.layers)
    if any(layers) and sum(layers) != count:
        raise NotLoadable(
            f"the model has {count} layers, and its ranks were given {layers}: load it anew"
        )
    inner.pipeline(ranks, split=layers if any(layers) else None)
    _expect_each_once(inner, ranks, count)
    whole: Module = model
    return whole


def _expect_each_once(inner: Any, ranks: mx.distributed.Group, count: int) -> None:
    """Whatever mlx-lm makes of a split: a layer that no rank computes ruins every answer silently.

    Raises NotLoadable.
    """
    own = mx.array([inner.start_idx, inner.end_idx])
    ends: Any = mx.distributed.all_gather(own, group=ranks).tolist()
    spans = sorted(zip(ends[::2], ends[1::2], strict=True))
    computed = [layer for start, end in spans for layer in range(start, end)]
    if computed != list(range(count)):
        raise NotLoadable(
            f"this version of mlx-lm would compute layers {spans} of {count}: not each of them "
            "once. Choose another number of ranks, or load it with `--split tensor`"
        )


def _kind(model: Any) -> str:
    return str(getattr(model, "model_type", type(model).__name__))
