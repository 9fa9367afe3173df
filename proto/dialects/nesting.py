"""How deep JSON may go: what is made of it later goes down level by level."""

import re

MOST = 100
"""Levels. Schemas of people have ten; Python gives up at a thousand."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def is_flat(body: bytes) -> bool:
    """Whether valid JSON has no more levels than that."""
    if body.count(b"[") + body.count(b"{") <= MOST:
        return True
    brackets = _STRING.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(MOST):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return True
    return False
