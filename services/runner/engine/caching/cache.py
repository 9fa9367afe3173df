"""The KV cache of one request."""

from typing import Any

Cache = list[Any]
"""mlx-lm's caches, one a layer."""
