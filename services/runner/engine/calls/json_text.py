"""JSON as models write it, passed on as it comes.

What strict JSON forbids and models do all the same is mended on the way: line
breaks and strange escapes in strings, Python's words and quotes.
"""

import json
import re
from collections.abc import Callable

from services.runner.engine.calls.python_text import python_string
from services.runner.engine.calls.text import Ended, Malformed, Steps, Text
from services.runner.engine.calls.writing import inside

Write = Callable[[str], None]
_PLAIN = re.compile(r"[^\"'{}\[\]A-Za-z]+")
_LETTERS = re.compile(r"[A-Za-z]+")
_BARE = re.compile(r"[^\s,:{}\[\]\"'<]+")
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_BEGINNING = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
"""Of an escape: the section ended within it."""
_WORDS = {"True": "true", "False": "false", "None": "null"}


def json_value(text: Text, write: Write) -> Steps[None]:
    """One value, written piece by piece. Malformed where none begins."""
    first = yield from text.skip_space()
    if first in "\"'":
        yield from _string(text, write)
    elif first in "{[":
        yield from _nested(text, write)
    else:
        word = yield from text.whole(_BARE)
        if not word:
            raise Malformed
        write(_WORDS.get(word, word))


def json_string(text: Text) -> Steps[str]:
    """A string's content."""
    pieces: list[str] = []
    yield from _string(text, pieces.append)
    try:
        return str(json.loads("".join(pieces)))
    except ValueError as broken:
        raise Malformed from broken


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def mended(source: str) -> str:
    """The first JSON value of the text as strict JSON. Ended or Malformed where there is none."""
    text, pieces = Text(), list[str]()
    text.feed(source)
    text.end(is_cut=False)
    for _ in json_value(text, pieces.append):
        raise AssertionError("a text that is over never waits")
    return "".join(pieces)


def _nested(text: Text, write: Write) -> Steps[None]:
    depth = 0
    while True:
        write((yield from text.some(_PLAIN)))
        first = yield from text.peek()
        if first in "\"'":
            yield from _string(text, write)
        elif first in "{[":
            depth += 1
            write(text.take(1))
        elif first in "}]":
            depth -= 1
            write(text.take(1))
            if not depth:
                return
        else:
            word = yield from text.whole(_LETTERS)
            write(_WORDS.get(word, word))


def _string(text: Text, write: Write) -> Steps[None]:
    if (yield from text.peek()) == "'":
        write('"')
        yield from python_string(text, write)
        write('"')
        return
    write(text.take(1))
    while True:
        write((yield from text.some(_IN_STRING)))
        first = yield from text.peek()
        if first == '"':
            write(text.take(1))
            return
        if first == "\\":
            yield from _escape(text, write)
        elif first < " ":
            write(inside(text.take(1)))


def _escape(text: Text, write: Write) -> Steps[None]:
    escape = yield from text.peek(2)
    if escape == "\\u":
        escape = yield from text.peek(6)
    if _BEGINNING.fullmatch(escape):
        raise Ended
    if _ESCAPE.fullmatch(escape):
        write(text.take(len(escape)))
    elif escape == "\\'":
        write(text.take(2)[1])
    else:
        text.take(1)
        write("\\\\")
