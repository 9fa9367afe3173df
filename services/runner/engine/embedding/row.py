"""What is read as one."""

from typing import NamedTuple


class Row(NamedTuple):
    """One text, or a query with a document, in tokens."""

    ids: list[int]
    types: list[int]
    """Which of two texts a token is of: 0 or 1."""
