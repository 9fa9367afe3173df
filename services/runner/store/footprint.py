"""What a model will take of machines' memory, by its files alone."""

import sys
from pathlib import Path

from proto.layout import Layout
from proto.memory import Footprint
from services.runner.models.folder import context_length, shards_of
from services.runner.models.kind import Kind, read_json, transformer_of
from services.runner.store.kv_cache import cache_size
from services.runner.store.layout import layout
from services.runner.store.weights import float_bytes, read_tensors, weights_bytes

UNPACKS = sys.platform != "darwin"
"""Without Metal an engine computes in float32, and so keeps weights and caches."""


def footprint(folder: Path, kind: Kind, *, unpacks: bool = UNPACKS) -> Footprint:
    """Only generators keep caches. Raises OSError and ValueError when files cannot be read."""
    inner = transformer_of(folder)
    config = read_json(inner / "config.json")
    tensors = read_tensors(shards_of(inner))
    width = 4 if unpacks else float_bytes(tensors)
    cached = cache_size(config, width) if kind == "generator" else None
    return Footprint(
        weights_bytes=weights_bytes(tensors, config, unpacks=unpacks),
        kv_bytes_per_token=cached.per_token if cached else 0,
        kv_bytes_per_request=cached.per_request if cached else 0,
        context_length=context_length(config),
    )


def layout_of(folder: Path, kind: Kind, *, unpacks: bool = UNPACKS) -> Layout | None:
    """Only generators are ever split. Raises OSError and ValueError when files cannot be read."""
    if kind != "generator":
        return None
    inner = transformer_of(folder)
    tensors = read_tensors(shards_of(inner))
    width = 4 if unpacks else float_bytes(tensors)
    return layout(tensors, read_json(inner / "config.json"), width, unpacks=unpacks)
