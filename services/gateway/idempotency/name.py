"""What a request is known by that may be asked again: who asks, its key, and what it asks."""

import hashlib

import msgspec
from msgspec import Struct

from proto.dialects.asked import invalid
from services.gateway.http.exchange import Exchange
from services.gateway.keys.caller import shown_key

HEADER = b"idempotency-key"
LONGEST = 255


class Name(Struct, frozen=True):
    key: str
    """Of the record: nobody finds it who does not show the same API key."""
    question: bytes
    """Of path and body, to the letter."""


def name_of(exchange: Exchange, body: bytes) -> Name:
    """Raises MeshError when the header is not fit."""
    said = exchange.headers[HEADER]
    if not 0 < len(said) <= LONGEST or not (
        said.isascii() and said.decode("latin-1").isprintable()
    ):
        raise invalid(
            f"Idempotency-Key must be 1 to {LONGEST} printable ASCII characters; "
            "a random UUID for each request is best.",
            "Idempotency-Key",
        )
    return Name(
        _digest(shown_key(exchange.headers), said).hexdigest(),
        _digest(exchange.path.encode(), body).digest(),
    )


def _digest(*parts: bytes) -> "hashlib._Hash":
    """Of the parts, each with its length, so that none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest


class _Streams(Struct):
    stream: bool | None = None


def is_streamed(path: str, body: bytes) -> bool:
    """Whether the answer would come in pieces, as far as the body can be read."""
    try:
        said = msgspec.json.decode(body, type=_Streams).stream
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return path in STREAMS_UNLESS_TOLD if said is None else said


STREAMS_UNLESS_TOLD = ("/api/chat", "/api/generate")
"""Ollama's."""
