"""Questions as tests ask them: what a test is not about has a value here."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2  # What the SDK speaks HTTP with.
import openai
from openai.types.chat import ChatCompletionChunk
from tokenizers import Tokenizer

from tests.mesh.house import Mesh

QUESTION = "Tell me something of tides and moons."
LONG = 6000
"""Tokens whose generation takes seconds, so that something may happen meanwhile."""


def chat(**asked: Any) -> dict[str, Any]:
    """A greedy question to the tiny model in OpenAI's chat dialect."""
    content = asked.pop("content", QUESTION)
    usual = {
        "model": "tiny",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 24,
    }
    return usual | asked


def text(**asked: Any) -> dict[str, Any]:
    usual = {"model": "tiny", "prompt": QUESTION, "temperature": 0, "max_tokens": 24}
    return usual | asked


def message_body(**asked: Any) -> dict[str, Any]:
    """The same in Anthropic's dialect."""
    return chat(**asked)


def message(**asked: Any) -> dict[str, Any]:
    """For Anthropic's SDK, which no longer has a word for the temperature."""
    body = message_body(**asked)
    return body | {"extra_body": {"temperature": body.pop("temperature")}}


def slow_prompt(tokens: int = 30_000) -> list[int]:
    """Takes seconds to read, and no cache holds any of it."""
    return [3 + (7 * at + tokens) % 500 for at in range(tokens)]


@dataclass
class Streamed:
    """A stream, read to its end."""

    chunks: list[ChatCompletionChunk] = field(default_factory=list)

    @property
    def deltas(self) -> list[str]:
        """Each of a token or more."""
        deltas = (choice.delta.content for chunk in self.chunks for choice in chunk.choices)
        return list(filter(None, deltas))

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def finish(self) -> str | None:
        reasons = [c.finish_reason for chunk in self.chunks for c in chunk.choices]
        return next(filter(None, reasons), None)


def read(stream: Iterable[ChatCompletionChunk]) -> Streamed:
    return Streamed(list(stream))


class Growing:
    """A stream that is being read. Its events are only counted until somebody asks what they say:
    of several that run at full speed, reading each event would hold up the test's event loop.
    """

    def __init__(self) -> None:
        self.events = 0
        self._unread = bytearray()
        self._read = Streamed()

    def add(self, part: bytes) -> None:
        known = len(self._unread)
        self._unread += part
        # Less than one mark again, so that one that comes in two parts is seen once.
        self.events += self._unread.count(EVENT, max(0, known - len(EVENT) + 1))

    @property
    def so_far(self) -> Streamed:
        """Raises openai.APIError where an event tells one, as the SDK does."""
        whole, _, rest = bytes(self._unread).rpartition(b"\n\n")
        self._unread = bytearray(rest)
        self._read.chunks += [
            _chunk(line[6:]) for line in whole.splitlines() if line.startswith(EVENT)
        ]
        return self._read

    @property
    def text(self) -> str:
        return self.so_far.text


EVENT = b"data: {"


def _chunk(data: bytes) -> ChatCompletionChunk:
    said = json.loads(data)
    if error := said.get("error"):
        raise openai.APIError(error["message"], httpx2.Request("POST", ""), body=error)
    return ChatCompletionChunk.model_validate(said)


class Reader:
    """Reads a stream beside the test, which can wait until it is under way."""

    def __init__(self, client: openai.AsyncOpenAI, **asked: Any) -> None:
        self.read = Growing()
        self._news = asyncio.Event()
        self._client = client
        self._asked = chat(**asked)
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> Streamed:
        streaming = self._client.chat.completions.with_streaming_response
        try:
            async with streaming.create(**self._asked, stream=True) as answer:
                async for part in answer.iter_bytes():
                    self.read.add(part)
                    self._news.set()
        except httpx2.HTTPError as error:
            raise openai.APIConnectionError(request=httpx2.Request("POST", "")) from error
        finally:
            self._news.set()
        return self.read.so_far

    async def until_under_way(self) -> "Reader":
        return await self.until_further(6)

    async def until_further(self, events: int) -> "Reader":
        """Until so many more are here than now, or the stream has ended."""
        enough = self.read.events + events
        async with asyncio.timeout(20):
            while self.read.events < enough and not self._task.done():
                self._news.clear()
                await self._news.wait()
        if self._task.done():
            self._task.result()
        return self

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def whole(self, within_s: float = 40.0) -> Streamed:
        async with asyncio.timeout(within_s):
            return await self._task

    async def leave(self) -> None:
        """Whatever became of it."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, openai.APIError, httpx.HTTPError):
            await self._task


def async_gpt_of(mesh: Mesh) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0, timeout=40)


async def greedy_text(client: openai.AsyncOpenAI, **asked: Any) -> str:
    answer = await client.chat.completions.create(**chat(**asked))
    return answer.choices[0].message.content or ""


def posted(mesh: Mesh, path: str, body: Any, **headers: str) -> httpx.Response:
    """One POST; the body as JSON, or as it is when it is bytes."""
    said = {"content": body} if isinstance(body, bytes) else {"json": body}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{mesh.url}{path}", **said, headers=named, timeout=30, trust_env=False)


class TinyTokens:
    """The tiny model's tokens, worked out apart from the mesh."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def of(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def of_chat(self, turns: Sequence[dict[str, str]]) -> list[int]:
        said = (f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns)
        return self.of("".join(said) + "<|im_start|>assistant\n")

    def id(self, piece: str) -> int:
        found: int = self._tokenizer.token_to_id(piece)
        return found

    def digits_only(self) -> dict[str, float]:
        """A logit bias under which the text of an answer has the answer's own tokens."""
        return {str(self.id(digit)): 100 for digit in "0123456789"}


def in_common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Length of the prefix that both share."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
