"""An answer on its way through: whole events as they came, read along for what they came to."""

from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec
from aiohttp import ClientResponse

from proto.errors import MeshError
from services.cloud.calling.refusal import broken_off, unreadable
from services.cloud.piece import Piece

EVENT_STREAM = "text/event-stream"
PART_BYTES = 1 << 20
"""Most of a whole answer in one frame."""
MOST_HELD_BYTES = 8 << 20
"""Of an event that has not ended."""


class Reader(Protocol):
    """Reads one answer along, in the words of its protocol."""

    @property
    def is_complete(self) -> bool:
        """The answer has said that it is."""

    def event(self, data: bytes) -> Piece | None:
        """What an event adds; None: nothing that is counted. Raises MeshError when it says that the
        answer failed, and msgspec.DecodeError when it is no JSON.
        """

    def whole(self, body: bytes) -> Piece:
        """What an answer in one piece came to. Raises msgspec.DecodeError."""

    def keeps(self, piece: Piece | None) -> bool:
        """Whether the client is to hear of an event; False: it did not ask for that one."""


async def passed(name: str, answer: ClientResponse, reader: Reader) -> AsyncGenerator[Piece, None]:
    """Pieces whose ``data`` is the answer, byte for byte. Raises MeshError."""
    try:
        if answer.content_type == EVENT_STREAM:
            async for events in _whole_events(answer):
                for piece in _read_along(events, reader):
                    yield piece
            if not reader.is_complete:
                raise broken_off(name)
            return
        body = await answer.read()
        yield _with(reader.whole(body), body[:PART_BYTES])
        for at in range(PART_BYTES, len(body), PART_BYTES):
            yield Piece(data=body[at : at + PART_BYTES])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise unreadable(name, error) from error


async def _whole_events(answer: ClientResponse) -> AsyncGenerator[bytes, None]:
    """As many as there are at a time. One that was cut off in the middle is nobody's."""
    held = b""
    async for part in answer.content.iter_any():
        held += part
        end = max(held.rfind(b"\n\n") + 2, held.rfind(b"\n\r\n") + 3)
        if end > 2:
            yield held[:end]
            held = held[end:]
        if len(held) > MOST_HELD_BYTES:
            raise ValueError(f"an event has more than {MOST_HELD_BYTES} bytes")
    if held.endswith(b"\n"):  # Some leave out the last blank line.
        yield held


def _read_along(events: bytes, reader: Reader) -> Iterator[Piece]:
    """What all of them add. Raises MeshError, msgspec.DecodeError, after those before."""
    read: list[tuple[bytes, Piece | None]] = []
    try:
        read.extend((event, _read(event, reader)) for event in _apart(events))
    except (MeshError, msgspec.DecodeError, UnicodeError, RecursionError):
        if read:
            yield _summed_up(read, reader)
        raise
    yield _summed_up(read, reader)


def _summed_up(read: list[tuple[bytes, Piece | None]], reader: Reader) -> Piece:
    kept = [event for event, piece in read if reader.keeps(piece)]
    pieces = [piece for _, piece in read if piece is not None]
    ended = [piece for piece in pieces if piece.reason is not None]
    said = Piece(
        chars=sum(piece.chars for piece in pieces),
        usage=next((piece.usage for piece in reversed(pieces) if piece.usage), None),
    )
    if ended:
        last = ended[-1]
        said = msgspec.structs.replace(said, reason=last.reason, stop=last.stop, cause=last.cause)
    return _with(said, b"".join(kept))


def _apart(events: bytes) -> Iterator[bytes]:
    lines: list[bytes] = []
    for line in events.splitlines(keepends=True):
        lines.append(line)
        if not line.strip():
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)


def _read(event: bytes, reader: Reader) -> Piece | None:
    data = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return reader.event(b"\n".join(data)) if data else None


def said_in(piece: Piece) -> Piece:
    """What is counted of a piece, without its words."""
    called = sum(len(call.name) + len(call.arguments) for call in piece.calls)
    return Piece(
        reason=piece.reason,
        stop=piece.stop,
        cause=piece.cause,
        usage=piece.usage,
        chars=len(piece.text) + len(piece.reasoning) + called,
    )


def _with(piece: Piece, data: bytes) -> Piece:
    return msgspec.structs.replace(piece, data=data)
