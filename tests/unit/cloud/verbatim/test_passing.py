"""Answers come through byte for byte, however they are cut on their way."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proto.errors import MeshError
from services.cloud.openai.passing import Reading
from services.cloud.piece import Piece
from services.cloud.verbatim.passing import passed

WORD = b'data: {"choices":[{"delta":{"content":"Calm"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n'
SPENT = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"


class Answer:
    """Of aiohttp, as far as it is looked at."""

    content_type = "text/event-stream"

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def through(*parts: bytes, hides_usage: bool = False) -> list[Piece]:
    answer: Any = Answer(*parts)
    return [p async for p in passed("up", answer, Reading("up", hides_usage=hides_usage))]


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
async def test_whole_events_go_on_as_they_came(size: int) -> None:
    said = b": hello\n\n" + WORD + LAST.replace(b"\n", b"\r\n") + SPENT + DONE
    pieces = await through(*(said[at : at + size] for at in range(0, len(said), size)))

    assert b"".join(piece.data for piece in pieces) == said
    assert all(piece.data.endswith(b"\n") for piece in pieces)
    assert sum(piece.chars for piece in pieces) == 4
    assert [piece.reason for piece in pieces if piece.reason] == ["length"]
    (usage,) = [piece.usage for piece in pieces if piece.usage]
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 5)


async def test_usage_that_was_not_asked_for_is_counted_and_kept_back() -> None:
    (piece,) = await through(WORD + LAST + SPENT + DONE, hides_usage=True)

    assert piece.data == WORD + LAST + DONE
    assert piece.usage


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (b'data: {"choices":[{"del', "broke off"),
        (b"", "broke off"),
        (DONE, "broke off"),
        (b"data: {nonsense\n\n", "cannot be read"),
        (b"data: [1]\n\n", "cannot be read"),
        (b'data: {"error":{"message":"it fell over"}}\n\n', "it fell over"),
    ],
)
async def test_what_was_whole_is_passed_on_before_it_is_told_what_broke(
    end: bytes, said: str
) -> None:
    answer: Any = Answer(WORD + end)
    pieces = passed("up", answer, Reading("up", hides_usage=False))

    assert (await anext(pieces)).data == WORD
    with pytest.raises(MeshError, match=said):
        await anext(pieces)


async def test_an_event_of_another_form_is_passed_on() -> None:
    novel = b"data: " + json.dumps({"choices": {"not": "a list"}}).encode() + b"\n\n"

    assert b"".join(p.data for p in await through(novel + LAST)) == novel + LAST
