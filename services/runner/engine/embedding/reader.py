"""A model that reads pages: every row comes to a few numbers, a vector or a score."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import make_prompt_cache

from services.runner.engine.embedding.page import Page

Finish = Callable[[mx.array, Page], mx.array]
"""States of rows, rows by width by hidden, to their numbers: rows by size, in float32."""


class Reader(Protocol):
    def stages(self, page: Page, chunk: int) -> Iterator[mx.array]:
        """Ever more of a pass; the last is what the rows come to, rows by size.

        Whoever evaluates each stage can see progress and leave in the middle.
        ``chunk`` is how many tokens of a row a stage may read, where the model can
        read a row in parts.
        """


class Encoder(Protocol):
    """A model whose tokens see one another both ways."""

    hidden: int
    vocab_size: int
    longest: int
    """Most tokens of a row."""

    def stages(self, page: Page) -> Iterator[mx.array]: ...


class EncoderReader:
    def __init__(self, encoder: Encoder, finish: Finish) -> None:
        self._encoder = encoder
        self._finish = finish

    def stages(self, page: Page, chunk: int) -> Iterator[mx.array]:
        states = None
        for states in self._encoder.stages(page):
            yield states
        assert states is not None, "an encoder has layers"
        yield self._finish(states, page)


class CausalReader:
    """A language model without its head. What fills a row up comes last, so nobody sees it."""

    def __init__(self, model: Module, finish: Finish) -> None:
        self._model: Any = model
        self._finish = finish

    def stages(self, page: Page, chunk: int) -> Iterator[mx.array]:
        if page.width <= chunk:
            yield self._finish(self._model.model(page.ids), page)
            return
        cache = make_prompt_cache(self._model)
        parts = []
        for start in range(0, page.width, chunk):
            parts.append(self._model.model(page.ids[:, start : start + chunk], cache=cache))
            yield parts[-1]
        yield self._finish(mx.concatenate(parts, axis=1), page)
