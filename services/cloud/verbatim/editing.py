"""A JSON object with some of its values changed, and every other byte as it was."""

import re
from collections.abc import Iterator, Mapping

import msgspec

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)
"""Strings and punctuation: numbers and words between them never matter."""


def edited(body: bytes, changes: Mapping[str, bytes]) -> bytes:
    """``changes`` are JSON, by the names of fields of the object itself; those that it has not come
    first in it. ``body`` is a valid object.
    """
    pieces, done, missing = [], 0, dict(changes)
    for name, start, end in _fields(body):
        if name in changes:
            pieces += [body[done:start], changes[name]]
            done = end
            missing.pop(name, None)
    pieces.append(body[done:])
    return _with_first(b"".join(pieces), missing)


def value_of(body: bytes, field: str) -> bytes:
    """The JSON of a field of the object itself, the last where it stands there twice; else none."""
    return next((body[s:e] for name, s, e in reversed([*_fields(body)]) if name == field), b"")


def _with_first(body: bytes, fields: Mapping[str, bytes]) -> bytes:
    if not fields:
        return body
    told = b",".join(msgspec.json.encode(name) + b":" + value for name, value in fields.items())
    opening = body.index(b"{") + 1
    comma = b"" if body[opening:].lstrip().startswith(b"}") else b","
    return body[:opening] + told + comma + body[opening:]


def _fields(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, and where its value starts and ends, of each field of the object itself."""
    depth, start = 0, -1
    name = said = b""
    for token in TOKEN.finditer(body):
        mark = token[0]
        if mark in (b"{", b"["):
            depth += 1
        elif depth == 1 and mark == b":" and start < 0:
            name, start = said, token.end()
        elif mark in (b"}", b"]", b","):
            if depth == 1 and start >= 0:
                yield _field(body, name, start, token.start())
                start = -1
            depth -= mark != b","
        else:
            said = mark


def _field(body: bytes, name: bytes, start: int, end: int) -> tuple[str, int, int]:
    value = body[start:end]
    lead = len(value) - len(value.lstrip())
    return msgspec.json.decode(name, type=str), start + lead, start + len(value.rstrip())
