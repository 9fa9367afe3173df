"""One request's texts as several questions: what a message carries, and what engines share."""

from collections.abc import Iterator, Sequence

MOST_CHARS = 1_000_000
"""Of a message, unless one text has more: at four bytes each, half of what the bus carries."""
LEAST_SHARE = 32
"""Fewer texts are not worth a second engine."""


def shares(sizes: Sequence[int], engines: int, most_texts: int) -> Iterator[slice]:
    """Runs of texts, in order, none with more texts or characters than a message should have.

    ``sizes`` are characters. Every engine gets a run, where there is enough for all.
    """
    fair = -(-len(sizes) // max(1, min(engines, len(sizes) // LEAST_SHARE)))
    most = min(fair, most_texts)
    start, chars = 0, 0
    for place, size in enumerate(sizes):
        if place > start and (place - start >= most or chars + size > MOST_CHARS):
            yield slice(start, place)
            start, chars = place, 0
        chars += size
    yield slice(start, len(sizes))
