"""Numbered server-sent events."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class Tape:
    """Numbers the events of one response."""

    def __init__(self, first: int = 0) -> None:
        self.next = first

    def say(self, kind: str, **fields: Any) -> bytes:
        return self._event(_head(kind, fields))

    def delta(self, head: bytes, text: str) -> bytes:
        """The hot path: one more piece below a head that ``delta_head`` made."""
        return self._event(head + _encode(text))

    def _event(self, body: bytes) -> bytes:
        event = b'%b,"sequence_number":%d}\n\n' % (body, self.next)
        self.next += 1
        return event


def delta_head(kind: str, **fields: Any) -> bytes:
    """An event up to the text that it tells."""
    return _head(kind, fields) + b',"delta":'


def _head(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b" % (kind.encode(), _encode({"type": kind, **fields})[:-1])
