"""One picture as a model sees it."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 7
"""Of a digest, in a key of the prefix cache: two pictures in 72 quadrillions share one."""


class Unreadable(Exception):
    """No picture comes of the bytes; says why and what to do, to follow ``Image 1``."""


@dataclass(eq=False, slots=True)
class Picture:
    """Prepared beside the event loop; its rows are computed by the model's thread, once."""

    digest: bytes
    tokens: list[int]
    """What stands in the prompt for it; more than its patches where there are marks around."""
    text: str
    """The same as text that the tokenizer reads as these tokens."""
    patches: NDArray[np.int32]
    """Where among the tokens its patches are."""
    grid: tuple[int, int, int] | None
    """Times, rows and columns of patches, where positions follow them."""
    pixels: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What the vision tower takes, until it has taken it."""
    rows: mx.array | None = None
    """Embeddings [patches, hidden]."""
    deep: mx.array | None = None
    """What some families add to the first layers' states [layers, patches, hidden]."""

    @property
    def key(self) -> int:
        """Stands for a patch in keys of the prefix cache: no token is below zero."""
        return -1 - int.from_bytes(self.digest[:KEY_BYTES])

    @property
    def nbytes(self) -> int:
        held = [*self.pixels.values(), self.rows, self.deep]
        return sum(array.nbytes for array in held if array is not None)
