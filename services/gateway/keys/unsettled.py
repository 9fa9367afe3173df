"""What this gateway served and no account has yet: it counts against budgets all the same."""

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from proto.usage import Amounts, Mark

MOST = 64
"""Parts of one account that are kept apart."""


class Part(Struct):
    day: str
    tokens: int
    nano_usd: int
    is_open: bool = True
    sequence: int | None = None
    """The place of its report, once that is kept."""


class Unsettled:
    def __init__(self) -> None:
        self._parts: dict[str, deque[Part]] = {}
        self._open: list[Part] = []
        """In no report yet."""
        self._on_the_way: dict[int, list[Part]] = {}
        """By the number of their report."""

    def add(self, account: str, day: str, amounts: Amounts) -> None:
        parts = self._parts.setdefault(account, deque())
        if not parts or not parts[-1].is_open or parts[-1].day != day:
            part = Part(day, 0, 0)
            parts.append(part)
            self._open.append(part)
            _shorten(parts)
        parts[-1].tokens += amounts.tokens
        parts[-1].nano_usd += amounts.cost_nano_usd

    def reported(self, number: int) -> None:
        """All that is open is in this report."""
        for part in self._open:
            part.is_open = False
        self._on_the_way[number], self._open = self._open, []

    def kept(self, number: int, sequence: int) -> None:
        for part in self._on_the_way.pop(number, ()):
            part.sequence = sequence

    def of(self, account: str, counted: Mark) -> Iterator[Part]:
        """What an account that is made up to this place lacks; all else is forgotten."""
        parts = self._parts.get(account)
        if parts is None:
            return
        while parts and _is_counted(parts[0], counted):
            parts.popleft()
        if not parts:
            del self._parts[account]
        yield from parts


def _is_counted(part: Part, counted: Mark) -> bool:
    return part.sequence is not None and part.sequence <= counted.sequence


def _shorten(parts: deque[Part]) -> None:
    """Where no account is made up, what is oldest becomes one."""
    if len(parts) <= MOST:
        return
    first, second = parts.popleft(), parts[0]
    if first.day != second.day or first.sequence is None or second.sequence is None:
        parts.appendleft(first)
        return
    second.tokens += first.tokens
    second.nano_usd += first.nano_usd
