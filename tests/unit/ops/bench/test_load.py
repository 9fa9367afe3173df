"""The client reads both spellings of JSON, whole and in pieces."""

import asyncio
from typing import Any

import pytest

from ops.bench._load import Line, Refusal

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
DENSE = b'data: {"choices":[{"delta":{"content":"0123456789abcdef rest"}}]}\n\n'
SPACED = b'data: {"choices": [{"delta": {"role": "assistant", "content": "x"}}]}\n\n'
SILENT = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":7,"details":{"cached_tokens":1}}}\n\n'
DONE = b"data: [DONE]\n\n"


class Deaf(asyncio.Transport):
    def write(self, data: Any) -> None:
        pass


def asked() -> tuple[Line, asyncio.Future[Any]]:
    line = Line()
    line.connection_made(Deaf())
    return line, line.ask(b"")


async def test_events_with_text_are_counted_and_others_are_not() -> None:
    line, answer = asked()
    line.data_received(HEAD + SILENT + DENSE + SPACED + USAGE + DONE)
    assert (await answer).heads[0] == b"0123456789abcdef"
    assert len(line.answer.text_at) == 2
    assert line.answer.tokens == 7


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_an_answer_in_pieces_is_the_same(size: int) -> None:
    line, answer = asked()
    whole = HEAD + SPACED + DENSE + USAGE + DONE
    for at in range(0, len(whole), size):
        line.data_received(whole[at : at + size])
    assert len((await answer).text_at) == 2
    assert line.answer.tokens == 7


async def test_an_error_is_raised() -> None:
    line, answer = asked()
    line.data_received(b"HTTP/1.1 429 Too Many Requests\r\n\r\n{}")
    with pytest.raises(Refusal, match="429"):
        await answer


async def test_hanging_up_is_an_error() -> None:
    line, answer = asked()
    line.data_received(HEAD + DENSE)
    line.connection_lost(None)
    with pytest.raises(Refusal):
        await answer
