"""Tables for people: in colour where a terminal shows them, else in columns that can be cut."""

import sys
from collections.abc import Sequence

from msgspec import Struct

COLOURS = {
    "alive": "green",
    "loaded": "green",
    "done": "green",
    "ready": "green",
    "draining": "yellow",
    "loading": "yellow",
    "paused": "yellow",
    "silent": "red",
    "failed": "red",
    "quarantined": "red",
}


class Table(Struct, frozen=True):
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    nothing: str
    """What is said where there are no rows."""
    notes: list[str] = []
    """Sentences below it."""


def show(table: Table) -> None:
    if sys.stdout.isatty():
        _show_in_colour(table)
    else:
        print(plain(table))
    for note in table.notes:
        print(note)


def plain(table: Table) -> str:
    if not table.rows:
        return table.nothing
    lines = [table.heads, *table.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _show_in_colour(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    if not table.rows:
        print(table.nothing)
        return
    drawn = Drawn(*table.heads, box=None, header_style="bold", pad_edge=False)
    for row in table.rows:
        drawn.add_row(*(Text(cell, COLOURS.get(cell, "")) for cell in row))
    Console().print(drawn)
