"""A client so light that it is never what is measured: raw HTTP/1.1, events found by searching.

It understands just enough of a chat stream to know when text arrived and what it cost.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

HEAD_CHARS = 16
"""How much of each text is kept: room for a time stamp."""
CONNECTING = 4
"""Opened at a time: mlx_lm.server's accept queue holds five, and what overflows waits seconds."""
_CONTENT = b'"content":'
_STATUS = re.compile(rb"HTTP/1\.\d (\d\d\d)")
_DONE = b"data: [DONE]"
_USAGE = re.compile(rb'"usage": ?(\{.*)')
_QUOTE, _SPACE = ord('"'), ord(" ")


class Refusal(Exception):
    """The server answered with an error, or hung up."""


@dataclass(slots=True)
class Answer:
    """One streamed answer. Times are unix seconds: engines stamp tokens with the same clock."""

    asked_at: float
    text_at: list[float] = field(default_factory=list)
    """When each event that carries text was read."""
    heads: list[bytes] = field(default_factory=list)
    """The first characters of each such text."""
    ended_at: float = 0.0
    usage: dict[str, Any] = field(default_factory=dict)

    @property
    def first_s(self) -> float:
        """From the question to the first text."""
        return self.text_at[0] - self.asked_at

    @property
    def whole_s(self) -> float:
        return self.ended_at - self.asked_at

    @property
    def tokens(self) -> int:
        return int(self.usage["completion_tokens"])


class Line(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self.answer: Answer
        self._transport: asyncio.Transport
        self._done: asyncio.Future[Answer]
        self._has_begun = False
        self._rest = b""

    @property
    def has_text(self) -> bool:
        """The answer to its question is under way."""
        return hasattr(self, "answer") and bool(self.answer.text_at)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, question: bytes) -> asyncio.Future[Answer]:
        self._done = asyncio.get_running_loop().create_future()
        self._has_begun, self._rest = False, b""
        self.answer = Answer(asked_at=time.time())
        self._transport.write(question)
        return self._done

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if self._done.done():
            return
        data = self._rest + data
        if not self._has_begun:
            status = _STATUS.search(data)
            if status is None:
                self._rest = data
                return
            if status[1] != b"200":
                self._done.set_exception(Refusal(data[:600].decode(errors="replace")))
                return
            self._has_begun = True
        self._read(data, now)

    def _read(self, data: bytes, now: float) -> None:
        """Take every whole event; what is left of the last one waits for the next read."""
        at, end = 0, data.rfind(b"\n\n") + 2
        answer = self.answer
        while (found := data.find(_CONTENT, at, end)) >= 0:
            at = found + len(_CONTENT)
            if data[at] == _SPACE:
                at += 1
            if data[at] == _QUOTE and data[at + 1] != _QUOTE:
                answer.text_at.append(now)
                answer.heads.append(data[at + 1 : at + 1 + HEAD_CHARS])
        done = data.find(_DONE, 0, end)
        if b'"usage"' in data and (usage := _USAGE.search(data)):
            answer.usage = _usage(usage[1]) or answer.usage
        if done >= 0:
            answer.ended_at = now
            self._done.set_result(answer)
        self._rest = data[end:] if end > 1 else data

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "_done") and not self._done.done():
            self._done.set_exception(Refusal(f"hung up: {error}, after {self.answer}"))

    def close(self) -> None:
        self._transport.close()


def _usage(text: bytes) -> dict[str, Any]:
    """The object that ``text`` begins with; empty for what is none, such as a null."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text.decode())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Server:
    """A chat endpoint under load."""

    name: str
    port: int
    model: str
    host: str = "127.0.0.1"
    key: str = ""
    """The API key that is shown; empty: none."""

    def question(self, messages: Sequence[dict[str, str]], max_tokens: int) -> bytes:
        """Greedy and streamed, with the usage at the end."""
        body = json.dumps(
            {
                "model": self.model,
                "messages": list(messages),
                "max_tokens": max_tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    @asynccontextmanager
    async def lines(self, count: int) -> AsyncIterator[list[Line]]:
        """Open connections, closed at the end whatever happens on them."""
        loop = asyncio.get_running_loop()
        gate = asyncio.Semaphore(CONNECTING)

        async def connect() -> Line:
            async with gate:
                return (await loop.create_connection(Line, self.host, self.port))[1]

        lines = await asyncio.gather(*(connect() for _ in range(count)))
        try:
            yield lines
        finally:
            for line in lines:
                line.close()

    async def ask(self, question: bytes) -> Answer:
        return (await self.ask_all([question]))[0]

    async def ask_all(self, questions: Iterable[bytes]) -> list[Answer]:
        """All at the same time, each on a connection of its own."""
        questions = list(questions)
        async with self.lines(len(questions)) as lines:
            return await asyncio.gather(
                *(line.ask(question) for line, question in zip(lines, questions, strict=True))
            )


def rate(answers: Iterable[Answer]) -> float:
    """Tokens a second of answers that were asked for together."""
    answers = list(answers)
    span = max(a.ended_at for a in answers) - min(a.asked_at for a in answers)
    return sum(answer.tokens for answer in answers) / span
