"""Fingerprints of ever longer beginnings of a prompt.

A gateway says them to the scheduler in place of the prompt, an engine in its
heartbeat for what its cache holds; both call the one function here, and the
longest common entry tells how much of a conversation the engine has read.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TypeVar

import msgspec

from proto.generation import Privacy
from proto.placement import Prefix
from proto.prompt import Chat, Part, Prompt, Text, TextPart, Turn

S = TypeVar("S", str, tuple[int, ...])

TEXT_BLOCK = 1024
"""Characters of one text that make an entry of their own."""
TOKEN_BLOCK = 256
TOKEN_CHARS = 4
"""A token id counts as so many."""
PICTURE_CHARS = 2048
"""What a picture counts as: about the tokens of one of a thousand by a thousand pixels."""
LONGEST = 256
"""Most entries of a chain. What is longer is told by its first and its last ones: by those that
others share, and by those that its own next request begins with."""

EVERYBODYS = Privacy()

_encode = msgspec.msgpack.Encoder().encode

Piece = tuple[bytes, int]
"""Bytes that an entry adds to the one before it, and how many characters they stand for."""


def prefixes_of(prompt: Prompt, privacy: Privacy = EVERYBODYS) -> tuple[Prefix, ...]:
    """Eight bytes each, shortest first, each made of the one before it; the last is the whole.

    A conversation has one for every turn, the system's being the first, and one
    for every whole block of a long text within a turn; a plain prompt one for
    every block. From where on a prompt is its owner's alone, the entries are, too.
    """
    if isinstance(prompt, Chat):
        return _chain(_said(prompt.unmarked(), privacy))
    if isinstance(prompt, Text):
        blocks = _blocks(prompt.text, TEXT_BLOCK)
        pieces = ((block.encode(), len(block)) for block in blocks)
    else:
        pieces = ((_encode(b), TOKEN_CHARS * len(b)) for b in _blocks(prompt.ids, TOKEN_BLOCK))
    return _chain(_owned(pieces, privacy.owner))


def _said(chat: Chat, privacy: Privacy) -> Iterator[Piece]:
    """Tools stand in front of a rendered prompt, so they are part of its first entry."""
    common = chat.common_turns if privacy.shares_system else 0
    yield from _turns(chat.turns[:common], _encode(chat.tools), _tool_chars(chat))
    before, chars = (b"", 0) if common else (_encode(chat.tools), _tool_chars(chat))
    yield from _owned(_turns(chat.turns[common:], before, chars), privacy.owner)


def _tool_chars(chat: Chat) -> int:
    return sum(map(len, map(str, chat.tools)))


def _turns(turns: Iterable[Turn], before: bytes, chars: int) -> Iterator[Piece]:
    """``before`` is part of the first, as are its ``chars``."""
    for turn in turns:
        for piece, size in _turn(turn):
            yield before + piece, chars + size
            before, chars = b"", 0


def _owned(pieces: Iterable[Piece], owner: str) -> Iterator[Piece]:
    """What is made of these pieces differs from owner to owner."""
    mark = _encode(owner) if owner else b""
    for piece, size in pieces:
        yield mark + piece, size
        mark = b""


def _turn(turn: Turn) -> Iterator[Piece]:
    """Its whole blocks of text, then the rest. What stands around the text is part of either."""
    written = _encode((turn.role, turn.reasoning, turn.name, turn.call_id, turn.is_error))
    chars = len(turn.reasoning)
    for part in _parts(turn):
        if not isinstance(part, TextPart):
            written, chars = written + _encode(part), chars + PICTURE_CHARS
            continue
        *whole, rest = _blocks(part.text, TEXT_BLOCK, has_rest=True)
        for block in whole:
            yield written + block.encode(), chars + len(block)
            written, chars = b"", 0
        written, chars = written + _encode(rest), chars + len(rest)
    called = sum(len(call.name) + len(call.arguments) for call in turn.calls)
    yield written + _encode(turn.calls), chars + called


def _parts(turn: Turn) -> tuple[Part, ...]:
    return (TextPart(text=turn.content),) if isinstance(turn.content, str) else turn.content


def _chain(pieces: Iterable[Piece]) -> tuple[Prefix, ...]:
    chain: list[Prefix] = []
    last, chars = b"", 0
    for piece, size in pieces:
        last = blake2b(last + piece, digest_size=8).digest()
        chars += size
        chain.append(Prefix(last, chars))
    if len(chain) > LONGEST:
        chain = chain[: LONGEST // 2] + chain[-LONGEST // 2 :]
    return tuple(chain)


def _blocks(items: S, size: int, *, has_rest: bool = False) -> Iterator[S]:
    """Whole blocks, and what is left of them: also when that is nothing, with ``has_rest``."""
    whole = len(items) - len(items) % size
    for at in range(0, whole, size):
        yield items[at : at + size]
    if has_rest or whole < len(items):
        yield items[whole:]
