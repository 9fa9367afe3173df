"""Where the beginnings of prompts, as the mesh knows them, end among an engine's tokens.

The prefix cache keeps its marks with its tokens, so that what is said of it in
heartbeats is there: a mark goes with the tokens that it stands for.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from proto.generation import Privacy
from proto.prefix import EVERYBODYS, prefixes_of
from proto.presence import MOST_PREFIXES
from proto.prompt import Prompt

Marks = Mapping[bytes, int]
"""Of one run of tokens, by digest: how many tokens from the very first on end there; the nearest
first.
"""


class Mark(NamedTuple):
    digest: bytes
    tokens: int
    """From the prompt's first on."""


def marks_of(prompt: Prompt, length: int, privacy: Privacy = EVERYBODYS) -> tuple[Mark, ...]:
    """Of a prompt of ``length`` tokens, in order.

    A mark stands where it would if every token had as many characters: to count
    the tokens of each beginning would cost as many passes of the template. What
    the mesh makes of it is an estimate of time, and what is cached is matched by
    tokens alone.
    """
    prefixes = prefixes_of(prompt, privacy)
    chars = prefixes[-1].chars if prefixes else 0
    ends = [Mark(prefix.digest, length * prefix.chars // max(chars, 1)) for prefix in prefixes]
    return tuple(mark for mark in ends if mark.tokens > 0)


def told(runs: Iterable[Marks]) -> dict[bytes, int]:
    """The most telling marks of some runs of tokens, the most telling runs first.

    The last mark of every run comes before the first of any, since a prompt that
    has all of a run is the likeliest to come again; then the first ones, such as
    a system prompt's; then what lies between.
    """
    chosen: dict[bytes, int] = {}
    for digest, tokens in _in_turn([list(marks.items()) for marks in runs if marks]):
        if len(chosen) == MOST_PREFIXES:
            break
        chosen.setdefault(digest, tokens)
    return chosen


def _in_turn(runs: list[list[tuple[bytes, int]]]) -> Iterator[tuple[bytes, int]]:
    yield from (marks[-1] for marks in runs)
    yield from (marks[0] for marks in runs)
    for marks in runs:
        yield from marks[1:-1]
