"""The text of a section of calls while it arrives, for readers that are written as coroutines.

A reader yields when it needs more text than there is; whoever feeds the text
resumes it. So a syntax is read top down, with no state but the reader's own.
"""

import re
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A reading that may have to wait for text, and what it comes to."""
_SPACE = re.compile(r"\s+")


class Ended(Exception):
    """The section is over, and what was being read did not come."""


class Malformed(Exception):
    """This is no call as the family writes them."""


class Text:
    def __init__(self) -> None:
        self._held = ""
        self._at = 0
        self._kept: int | None = None
        self.is_over = False
        self.is_cut = False
        """The answer ended, not the section."""

    # For who feeds it

    def feed(self, text: str) -> None:
        start = self._at if self._kept is None else self._kept
        self._held = self._held[start:] + text
        self._at -= start
        if self._kept is not None:
            self._kept = 0

    def end(self, *, is_cut: bool) -> None:
        self.is_over, self.is_cut = True, is_cut

    def rest(self) -> str:
        """Takes all that there is."""
        return self.take(len(self._held))

    # For readers

    def expect(self) -> None:
        """A call begins here, or began before and was not found yet."""
        if self._kept is None:
            self._kept = self._at

    def found(self) -> None:
        """The call's name was read."""
        self._kept = None

    def lost(self) -> str | None:
        """What was read since ``expect``, if the call was not found; it is expected no more."""
        read = None if self._kept is None else self._held[self._kept : self._at]
        self._kept = None
        return read

    def take(self, count: int) -> str:
        taken = self._held[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def peek(self, count: int = 1) -> Steps[str]:
        """The next characters, not taken: ``count`` of them, fewer only at the section's end."""
        while len(self._held) - self._at < count:
            if self.is_over and self._at < len(self._held):
                break
            yield from self._more()
        return self._held[self._at : self._at + count]

    def skip_space(self) -> Steps[str]:
        """The first character that is no white space, not taken."""
        while (yield from self.peek()).isspace():
            yield from self.some(_SPACE)
        return self._held[self._at]

    def some(self, pattern: re.Pattern[str]) -> Steps[str]:
        """What of the text at hand the pattern matches from here on; perhaps nothing."""
        yield from self.peek()
        found = pattern.match(self._held, self._at)
        return self.take(len(found.group())) if found else ""

    def whole(self, pattern: re.Pattern[str]) -> Steps[str]:
        """What the pattern matches from here on, once something follows that it does not match."""
        while True:
            yield from self.peek()
            found = pattern.match(self._held, self._at)
            if found is None or found.end() < len(self._held) or self.is_over:
                return self.take(len(found.group())) if found else ""
            yield from self._more()

    def upto(self, *marks: str) -> Steps[tuple[str, str]]:
        """The text before the first of the marks, and that mark; both are taken."""
        seen = 0
        while True:
            start = self._at + seen
            found = [(self._held.find(mark, start), mark) for mark in marks]
            met = min(((at, mark) for at, mark in found if at >= 0), default=None)
            if met is not None:
                before = self.take(met[0] - self._at)
                return before, self.take(len(met[1]))
            seen = max(seen, len(self._held) - self._at - max(map(len, marks)) + 1)
            yield from self._more()

    def before(self, mark: str) -> Steps[str]:
        """The text before the mark, which is not taken."""
        before, _ = yield from self.upto(mark)
        self.back(mark)
        return before

    def back(self, mark: str) -> None:
        """The mark that was just taken is to be read once more."""
        self._at -= len(mark)

    def stream(self, mark: str, write: Callable[[str], None]) -> Steps[None]:
        """Write the text before the mark as it comes; the mark is taken."""
        while True:
            at = self._held.find(mark, self._at)
            if at >= 0:
                write(self.take(at - self._at))
                self.take(len(mark))
                return
            rest = self._held[self._at :]
            write(self.take(len(rest) - started(rest, mark)))
            yield from self._more()

    def _more(self) -> Steps[None]:
        if self.is_over:
            raise Ended
        yield


def started(text: str, mark: str) -> int:
    """How many characters at the end of the text may be the beginning of the mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0
