"""``python -m services.runner.engine.constraints.trying``: compiles grammars, to see it end.

A schema of one line may take llguidance minutes or gigabytes, and some grammars crash it. It
happens here, where nothing else does: whoever reads from this process sees it end, and knows.
Says one empty line when it is ready, then a line for each grammar that it is sent: empty, or what
is wrong with it.
"""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from msgspec import Struct

LIMITS = LLParserLimits(verbose_errors=False, initial_lexer_fuel=500_000)
"""A step's fuel, the library's own, bounds how long one token may hold up everybody: some 0.4 s. A
quarter of it breaks off calls whose strings hold letters of every kind.
"""
TRIAL_S = 4.0
"""Of computing, for one grammar. Then the system ends this process, whatever it is in."""
MEMORY_BYTES = 6 << 30
"""Of address space, where the system bounds it."""
SIZE_BYTES = 4


class Vocabulary(Struct, array_like=True):
    """What is sent first."""

    tokenizer: str
    """tokenizer.json."""
    size: int
    ends: list[int]
    """Tokens that end an answer."""


def tried(tokenizer: LLTokenizer, grammar: str) -> str:
    """What is wrong with a grammar; empty: nothing."""
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() if matcher.is_error() else ""


def received(source: BinaryIO) -> Iterator[bytes]:
    """What is sent, each piece behind its length."""
    while head := source.read(SIZE_BYTES):
        yield source.read(int.from_bytes(head))


def sent(text: bytes) -> bytes:
    return len(text).to_bytes(SIZE_BYTES) + text


def main() -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    pieces = received(sys.stdin.buffer)
    vocabulary = msgspec.msgpack.decode(next(pieces), type=Vocabulary)
    tokenizer = LLTokenizer(
        vocabulary.tokenizer, n_vocab=vocabulary.size, eos_token=vocabulary.ends
    )
    _say("")
    for grammar in pieces:
        signal.setitimer(signal.ITIMER_PROF, TRIAL_S)
        error = tried(tokenizer, grammar.decode())
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(error)


def _say(line: str) -> None:
    sys.stdout.write(" ".join(line.split()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
