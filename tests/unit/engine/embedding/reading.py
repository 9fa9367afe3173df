"""What a reader makes of texts, without an engine around it."""

from collections.abc import Sequence

import numpy as np

from services.runner.engine.embedding.loading import LoadedReader
from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.passes import Numbers
from services.runner.engine.embedding.row import Row

TEXTS = (
    "The sea is calm.",
    "Tides follow the moon, and the moon follows nobody at all.",
    "x",
    "a longer text about ships " * 2,
)


def numbers(model: LoadedReader, rows: Sequence[Row], chunk: int = 512) -> Numbers:
    """In one pass."""
    *_, last = model.reader.stages(Page.of(rows), chunk)
    return np.array(last)


def vectors(model: LoadedReader, texts: Sequence[str] = TEXTS) -> Numbers:
    return numbers(model, model.texts.of(texts))


def scores(model: LoadedReader, query: str, documents: Sequence[str] = TEXTS) -> Numbers:
    assert model.pairs
    return numbers(model, model.pairs.of(query, documents))[:, 0]
