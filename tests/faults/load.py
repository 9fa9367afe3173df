"""Requests that go on and on while something breaks, and what came of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.mesh.asking import chat

TOKENS = 24


@dataclass
class Load:
    """Clients that ask one request after the other, and what came of them."""

    url: str
    expected: str = ""
    served: int = 0
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the block ends; what is under way then is served to its end."""
        ends = asyncio.Event()
        async with self._client() as http:
            self.expected = await whole(http)
        async with asyncio.TaskGroup() as tasks:
            for ask, keeps in ((whole, True), (streamed, True), (streamed, True), (whole, False)):
                tasks.create_task(self._ask_on(ask, keeps, ends))
            try:
                yield
            finally:
                ends.set()

    async def _ask_on(
        self, ask: Callable[[httpx.AsyncClient], Awaitable[str]], keeps: bool, ends: asyncio.Event
    ) -> None:
        async with self._client() as kept:
            while not ends.is_set():
                try:
                    if keeps:
                        text = await ask(kept)
                    else:
                        async with self._client() as fresh:
                            text = await ask(fresh)
                    assert text == self.expected, f"{text!r} instead of {self.expected!r}"
                except (httpx.HTTPError, AssertionError) as failure:
                    self.failed.append(f"{ask.__name__}: {failure!r}")
                self.served += 1

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)


async def whole(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/chat/completions", json=chat(max_tokens=TOKENS))
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


async def streamed(http: httpx.AsyncClient) -> str:
    text, events = "", []
    body = chat(max_tokens=TOKENS, stream=True)
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        events = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1]
    for event in map(json.loads, events[:-1]):
        text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return text
