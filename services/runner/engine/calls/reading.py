"""From the text of sections of calls to calls: what all families' readers have in common."""

from collections.abc import Callable, Iterator
from typing import Protocol

from proto.ids import RequestId
from services.runner.engine.calls.text import Ended, Malformed, Steps, Text
from services.runner.engine.calls.writing import Calls, CallText

Section = Callable[[Text, Calls], Steps[None]]
"""How a family reads one section: it writes calls until the text ends."""


class Reader(Protocol):
    """Reads the calls of one answer.

    The pieces of a whole call's arguments make one JSON object. Of a call that
    is cut off or broken, what could be read stands: its name, and arguments
    that are not closed. A call without a readable name is an UNREADABLE one.
    """

    @property
    def calls(self) -> int:
        """Begun so far."""

    def push(self, text: str) -> list[CallText]:
        """Text inside a section of calls, the section's markers stripped."""

    def end_section(self) -> list[CallText]:
        """The section's end marker was met."""

    def finish(self) -> list[CallText]:
        """The answer ended inside a section: cut off, or the family has no end marker."""


class SectionReader:
    def __init__(self, section: Section, request: RequestId) -> None:
        self._section = section
        self._calls = Calls(request)
        self._steps: Iterator[None] | None = None

    @property
    def calls(self) -> int:
        return self._calls.begun

    def push(self, text: str) -> list[CallText]:
        if self._steps is None:
            self._open()
        self._text.feed(text)
        self._advance()
        return self._calls.take()

    def end_section(self) -> list[CallText]:
        if self._steps is None:
            self._open()
        return self._close(is_cut=False)

    def finish(self) -> list[CallText]:
        return [] if self._steps is None else self._close(is_cut=True)

    def _open(self) -> None:
        self._text = Text()
        self._text.expect()
        self._steps = self._section(self._text, self._calls)

    def _advance(self) -> None:
        assert self._steps is not None, "only an open section has text"
        try:
            next(self._steps)
        except (Ended, Malformed, StopIteration):
            self._steps = _idle()

    def _close(self, *, is_cut: bool) -> list[CallText]:
        self._text.end(is_cut=is_cut)
        self._advance()
        self._text.rest()
        lost = self._text.lost()
        if lost is not None and (lost.strip() or not is_cut):
            self._calls.give_up(lost)
        self._steps = None
        return self._calls.take()


def resumed(section: Section) -> Section:
    """The same where a mark begins each call: what is malformed ends with its call."""

    def read(text: Text, calls: Calls) -> Steps[None]:
        while True:
            try:
                return (yield from section(text, calls))
            except Malformed:
                lost = text.lost()
                if lost is not None:
                    calls.give_up(lost)

    return read


def _idle() -> Iterator[None]:
    """What follows something unreadable is not read."""
    while True:
        yield
