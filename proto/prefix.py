"""Fingerprints of ever longer beginnings of a prompt.

A gateway says them to the scheduler in place of the prompt, an engine in its
heartbeat for what its cache holds; both call the one function here, and the
longest common entry tells how much of a conversation the engine has read.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeVar

import msgspec

from proto.inference import Chat, Prompt, Text

S = TypeVar("S", str, tuple[int, ...])

TEXT_BLOCK = 1024
"""Characters of a plain prompt that make one entry."""
TOKEN_BLOCK = 256
LONGEST = 256
"""Most entries of a chain; what is longer is told apart by its first ones."""

_encode = msgspec.msgpack.Encoder().encode


def prefix_hashes(prompt: Prompt) -> tuple[bytes, ...]:
    """Eight bytes each, shortest prefix first, each made of the one before it.

    A conversation has one for every turn, the system's being the first; a plain
    prompt one for every whole block.
    """
    if isinstance(prompt, Chat):
        return _chain(_said(prompt))
    if isinstance(prompt, Text):
        return _chain(block.encode() for block in _whole_blocks(prompt.text, TEXT_BLOCK))
    return _chain(msgspec.msgpack.encode(block) for block in _whole_blocks(prompt.ids, TOKEN_BLOCK))


def _said(chat: Chat) -> Iterable[bytes]:
    """Tools stand in front of a rendered prompt, so they are part of its first entry."""
    before = _encode(chat.tools)
    for turn in chat.turns:
        yield before + _encode(turn)
        before = b""


def _chain(parts: Iterable[bytes]) -> tuple[bytes, ...]:
    chain: list[bytes] = []
    last = b""
    for part in parts:
        last = blake2b(last + part, digest_size=8).digest()
        chain.append(last)
        if len(chain) == LONGEST:
            break
    return tuple(chain)


def _whole_blocks(items: S, size: int) -> Iterable[S]:
    return (items[at : at + size] for at in range(0, len(items) - size + 1, size))
