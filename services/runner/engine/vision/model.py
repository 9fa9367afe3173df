"""A vision language model in the shape that the batch runs: tokens and caches in, logits out."""

from collections.abc import Sequence as Run
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import KVCache
from numpy.typing import NDArray

from services.runner.engine.vision import cache as caches
from services.runner.engine.vision.cache import Cache
from services.runner.engine.vision.families import Family
from services.runner.engine.vision.picture import Picture
from services.runner.engine.vision.sight import Sight

View = tuple[Sight | None, int]
"""What a row's prompt shows, and which of its tokens the row begins with."""


class SeeingModel(Module):
    """Belongs to the model's thread, as any model."""

    def __init__(self, inner: Any, family: Family) -> None:
        """``inner`` is a model of mlx-vlm."""
        super().__init__()
        self.inner = inner
        self._has_grid = family.has_grid

    def make_cache(self) -> Cache:
        language = self.inner.language_model
        made = getattr(language, "make_cache", None)
        layers = made() if made else [KVCache() for _ in language.layers]
        return caches.batchable(layers, self._has_grid)

    def __call__(self, tokens: mx.array, cache: Cache) -> mx.array:
        """Logits [rows, tokens, vocabulary] of text, whatever pictures the caches hold."""
        placed = {}
        if self._has_grid:
            placed["position_ids"] = caches.positions(cache[0], tokens.shape[1])
        return self._read(tokens, cache, **placed)

    def look(self, picture: Picture) -> None:
        """Compute a picture's rows."""
        tokens = mx.array([picture.tokens])
        pixels = {name: mx.array(value) for name, value in picture.pixels.items()}
        seen = self.inner.get_input_embeddings(tokens, **pixels, mask=mx.ones_like(tokens))
        rows = seen.inputs_embeds[0, mx.array(picture.patches)]
        mx.eval(rows)
        if (deep := seen.deepstack_visual_embeds) is not None:
            picture.deep = mx.stack(list(deep))
            mx.eval(picture.deep)
        picture.rows = rows
        picture.pixels = {}

    def see(self, tokens: mx.array, cache: Cache, views: Run[View]) -> mx.array:
        """As ``__call__``, for a part of prompts that may show pictures; each has been looked at.

        A row that is shorter than the others is padded on its right.
        """
        length = tokens.shape[1]
        placed: dict[str, Any] = {}
        if self._has_grid:
            placed["position_ids"] = mx.array(_positions(views, length))
            caches.shift(cache[0], [0 if sight is None else sight.shift for sight, _ in views])
        embeddings = self.inner.get_input_embeddings(tokens).inputs_embeds
        pictures, index = _shown(views, length)
        if pictures:
            rows = mx.concatenate([_rows(picture) for picture in pictures])
            is_patch = mx.array(index >= 0)
            filled = rows[mx.array(np.maximum(index, 0))].astype(embeddings.dtype)
            embeddings = mx.where(is_patch[..., None], filled, embeddings)
            added = [picture.deep for picture in pictures if picture.deep is not None]
            if added:
                deep = mx.concatenate(added, axis=1)
                placed["visual_pos_masks"] = is_patch
                placed["deepstack_visual_embeds"] = list(deep[:, mx.array(index[index >= 0])])
        return self._read(tokens, cache, inputs_embeds=embeddings, **placed)

    def _read(self, tokens: mx.array, cache: Cache, **rest: Any) -> mx.array:
        logits: mx.array = self.inner.language_model(tokens, cache=cache, **rest).logits
        return logits


def _rows(picture: Picture) -> mx.array:
    assert picture.rows is not None, "a picture is looked at before it is read"
    return picture.rows


def _shown(views: Run[View], length: int) -> tuple[list[Picture], NDArray[np.int32]]:
    """The pictures of a chunk, each once; for each token its row among theirs, or -1."""
    index = np.full((len(views), length), -1, np.int32)
    first: dict[Picture, int] = {}
    height = 0
    for row, (sight, start) in enumerate(views):
        if sight is None:
            continue
        shown = sight.shown[start : start + length]
        patch = sight.patch[start : start + length]
        for number in np.unique(shown[shown >= 0]):
            picture = sight.pictures[number]
            if picture not in first:
                first[picture] = height
                height += len(picture.patches)
            of_it = np.flatnonzero(shown == number)
            index[row, of_it] = first[picture] + patch[of_it]
    return list(first), index


def _positions(views: Run[View], length: int) -> NDArray[np.int32]:
    """[3, rows, length]; what follows a prompt, an answer or padding, goes on as text does."""
    positions = np.empty((3, len(views), length), np.int32)
    for row, (sight, start) in enumerate(views):
        positions[:, row] = np.arange(start, start + length)
        if sight is not None:
            assert sight.positions is not None, "a family with a grid places every token"
            positions[:, row] += sight.shift
            known = sight.positions[:, start : start + length]
            positions[:, row, : known.shape[1]] = known
    return positions
