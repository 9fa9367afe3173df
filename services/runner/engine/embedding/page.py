"""Rows of tokens side by side, as one pass reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from services.runner.engine.embedding.row import Row


@dataclass(frozen=True)
class Page:
    """Rows filled up on the right to the width of the longest."""

    ids: mx.array
    """Rows by width."""
    types: mx.array
    lengths: mx.array
    """Tokens of each row."""
    is_full: bool
    """No row is shorter than another."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Page":
        width = max(len(row.ids) for row in rows)
        return cls(
            ids=mx.array([row.ids + [0] * (width - len(row.ids)) for row in rows]),
            types=mx.array([row.types + [0] * (width - len(row.types)) for row in rows]),
            lengths=mx.array([len(row.ids) for row in rows]),
            is_full=all(len(row.ids) == width for row in rows),
        )

    @property
    def width(self) -> int:
        return int(self.ids.shape[1])

    @property
    def mask(self) -> mx.array:
        """Rows by width: true where there is a token of the row."""
        return mx.arange(self.width)[None] < self.lengths[:, None]
