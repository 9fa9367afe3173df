"""Python's string literals, read as they come."""

import re
from collections.abc import Callable

from services.runner.engine.calls.text import Ended, Steps, Text
from services.runner.engine.calls.writing import inside

_LONGEST = 10
"""Characters of an escape with a number: ``\\U0001F600``."""
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<U>[0-9a-fA-F]{8})|(?P<other>.))",
    re.DOTALL,
)
_BEGINNING = re.compile(
    r"\\(?:x[0-9a-fA-F]?|u[0-9a-fA-F]{0,3}|U[0-9a-fA-F]{0,7})?",
)
"""Of an escape: the section ended within it."""
_LETTERS = {
    "\n": "", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n",
    "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


def python_string(text: Text, write: Callable[[str], None]) -> Steps[None]:
    """A literal from its quote on; its content is written as the inside of a JSON string.

    A line break in it is taken as one, whatever the quotes.
    """
    quote = yield from _quote(text)
    content = re.compile(rf"[^\\{quote[0]}]+")
    while True:
        write(inside((yield from text.some(content))))
        first = yield from text.peek()
        if first == "\\":
            yield from _escape(text, write)
        elif first == quote[0]:
            if (yield from text.peek(len(quote))) == quote:
                text.take(len(quote))
                return
            write(inside(text.take(1)))


def _quote(text: Text) -> Steps[str]:
    """Takes the opening quote, or of an empty literal the first of both."""
    opening = yield from text.peek(2)
    if opening[0] != opening[-1] or len(opening) == 1:
        return text.take(1)
    opening = yield from text.peek(3)
    return text.take(3 if opening == opening[0] * 3 else 1)


def _escape(text: Text, write: Callable[[str], None]) -> Steps[None]:
    ahead = yield from text.peek(2)
    if ahead[1:] in tuple("01234567xuU"):
        ahead = yield from text.peek(_LONGEST)
    found = _ESCAPE.match(ahead)
    if found is None or _BEGINNING.fullmatch(ahead):
        raise Ended
    text.take(found.end())
    write(inside(_meant(found)))


def _meant(escape: re.Match[str]) -> str:
    other = escape["other"]
    if other is not None:
        return _LETTERS.get(other, f"\\{other}")
    octal = escape["octal"]
    code = int(octal, 8) if octal else int(escape["x"] or escape["u"] or escape["U"], 16)
    return chr(code) if code <= 0x10FFFF else "\ufffd"
