"""How far each machine is: a table that changes on a terminal, lines elsewhere, records as JSON."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from ops.words import duration

if TYPE_CHECKING:
    # It takes time, and only a terminal needs it.
    from rich.table import Table

REFRESH_PER_S = 8


class Standing(Struct, kw_only=True):
    """One machine, now or in the end."""

    host: str
    node: str = ""
    state: str = "running"
    """``done``, ``failed`` or ``running``."""
    step: str = ""
    """In words: what is being done, what was, or why it failed."""
    machine: str = ""
    """What it is."""
    began_s: float = msgspec.field(default_factory=time.monotonic)
    ended_s: float | None = None

    @property
    def took_s(self) -> float:
        return (self.ended_s or time.monotonic()) - self.began_s


Show = Callable[[Standing], None]
"""Told at each change."""


@contextmanager
def lines() -> Iterator[Show]:
    said: dict[int, str] = {}

    def show(it: Standing) -> None:
        line = f"{it.node or it.host}: {it.step}"
        if said.get(id(it)) != line and it.step:
            said[id(it)] = line
            print(line, file=sys.stderr if it.state == "failed" else sys.stdout, flush=True)

    yield show


@contextmanager
def records() -> Iterator[Show]:
    """Every change as one line of JSON."""

    def show(it: Standing) -> None:
        told = {name: getattr(it, name) for name in ("host", "node", "state", "step", "machine")}
        print(msgspec.json.encode(told).decode(), flush=True)

    yield show


@contextmanager
def table() -> Iterator[Show]:
    from rich.live import Live

    shown: dict[int, Standing] = {}
    with Live(refresh_per_second=REFRESH_PER_S, get_renderable=lambda: _drawn(shown)):

        def show(it: Standing) -> None:
            shown[id(it)] = it

        yield show


def _drawn(shown: dict[int, Standing]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    colours = {"done": "green", "failed": "red", "running": ""}
    drawn = Table("MACHINE", "NODE", "WHAT IT IS", "STEP", "TIME", box=None, pad_edge=False)
    for it in shown.values():
        step = Text(it.step, colours[it.state])
        drawn.add_row(it.host, it.node, it.machine, step, duration(it.took_s))
    return drawn


@contextmanager
def shown(as_json: bool) -> Iterator[Show]:
    chosen = records if as_json else table if sys.stdout.isatty() else lines
    with chosen() as show:
        yield show
