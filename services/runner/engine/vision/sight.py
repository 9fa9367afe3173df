"""Where in a prompt its pictures are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.runner.engine.vision.picture import Picture


@dataclass(frozen=True, eq=False)
class Sight:
    """The pictures of one prompt, token by token."""

    pictures: tuple[Picture, ...]
    """In the order of the prompt; one that is shown twice is in it twice."""
    shown: NDArray[np.int32]
    """For each token which of the pictures it is a patch of; -1: none."""
    patch: NDArray[np.int32]
    """And which of that picture's patches."""
    keys: list[int]
    """The prompt as the prefix cache knows it: equal tokens of unequal pictures differ."""
    positions: NDArray[np.int32] | None
    """[3, tokens], for families with a grid."""

    @property
    def shift(self) -> int:
        """How far the position after the prompt is from the number of its tokens."""
        if self.positions is None:
            return 0
        return int(self.positions.max()) + 1 - len(self.keys)

    def between(self, start: int, end: int) -> list[Picture]:
        """Those with a patch among these tokens."""
        numbers = np.unique(self.shown[start:end])
        return [self.pictures[number] for number in numbers if number >= 0]


Shown = Sequence[tuple[NDArray[np.int32], Picture]]
"""Each picture with the places of its patches in the prompt, in order."""


def sight(tokens: list[int], pictures: Shown, has_grid: bool) -> Sight:
    shown = np.full(len(tokens), -1, np.int32)
    patch = np.zeros(len(tokens), np.int32)
    keys = list(tokens)
    for number, (places, picture) in enumerate(pictures):
        shown[places] = number
        patch[places] = np.arange(len(places))
        for place in places:
            keys[place] = picture.key
    positions = _positions(len(tokens), pictures) if has_grid else None
    return Sight(tuple(picture for _, picture in pictures), shown, patch, keys, positions)


def _positions(length: int, pictures: Shown) -> NDArray[np.int32]:
    """Text counts on; a patch is at its time, row and column after what stands before it.

    What follows a picture goes on behind its longest side. Source: the Qwen2-VL paper, 2.1.
    """
    parts: list[NDArray[np.int32]] = []
    done, at = 0, 0
    for places, picture in pictures:
        assert picture.grid is not None, "a family with a grid gives every picture one"
        before = int(places[0]) - done
        parts.append(_text(at, before))
        at += before
        parts.append(at + np.indices(picture.grid, np.int32).reshape(3, -1))
        done, at = int(places[0]) + len(places), at + max(picture.grid)
    parts.append(_text(at, length - done))
    return np.concatenate(parts, axis=1)


def _text(at: int, length: int) -> NDArray[np.int32]:
    return np.tile(np.arange(at, at + length, dtype=np.int32), (3, 1))
