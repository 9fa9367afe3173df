"""What a model will take of a machine's memory, by its files alone."""

import sys
from pathlib import Path

from proto.memory import Footprint
from services.runner.models.folder import context_length, shards_of
from services.runner.models.kind import Kind, read_json, transformer_of
from services.runner.store.kv_cache import cache_size
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
