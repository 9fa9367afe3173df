"""One upstream that speaks OpenAI's chat completions and completions, as a stream of pieces.

Protocol: https://platform.openai.com/docs/api-reference/chat and /completions, streamed
as server-sent events.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from aiohttp import ClientResponse

from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.presence import ModelCard
from proto.tokenization import CountTokens
from services.cloud.calling.breaker import Breaker
from services.cloud.calling.caller import Caller
from services.cloud.calling.events import data_of
from services.cloud.calling.refusal import broken_off, unreadable
from services.cloud.naming import upstream_s
from services.cloud.openai import responses
from services.cloud.openai.body import body
from services.cloud.openai.catalog import card
from services.cloud.openai.events import piece, read
from services.cloud.openai.passing import ENDPOINTS, reader
from services.cloud.openai.passing import asked as asked_verbatim
from services.cloud.openai.vectors import embedded, embeddings_body, rerank_body, reranked
from services.cloud.piece import Piece
from services.cloud.settings import Upstream
from services.cloud.unsupported import unsupported
from services.cloud.verbatim.passing import passed

A = TypeVar("A")
Told = Callable[[Generate, str], tuple[str, dict[str, Any]]]
"""Path and body of a request for the upstream's own id of a model. Raises MeshError."""


class OpenAI:
    """A Client, and Forwarding."""

    def __init__(
        self,
        upstream: Upstream,
        told: Told | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``told``: how requests are said where not as OpenAI has them."""
        keys = [{"authorization": f"Bearer {key}"} for key in upstream.keys]
        self._caller = Caller(upstream.name, upstream.url, headers, keys, upstream.patience)
        self._told = told or self._as_openai
        # OpenAI's newer models refuse the older name, other servers may not know the newer one.
        is_openai = upstream.kind == "openai" or upstream.url.startswith("https://api.openai.com/")
        self._kind = upstream.kind
        keeps_responses = upstream.kind == "openai"
        self.speaks = (*ENDPOINTS, responses.ENDPOINT) if keeps_responses else ENDPOINTS
        self._limit = "max_completion_tokens" if is_openai else "max_tokens"

    @property
    def breaker(self) -> Breaker:
        return self._caller.breaker

    async def close(self) -> None:
        await self._caller.close()

    async def catalog(self) -> tuple[ModelCard, ...]:
        answer = await self._caller.get("/models")
        return self._read(lambda said: tuple(map(card, said["data"])), answer)

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        path, asked = self._told(request, upstream_s(request.model))
        async with self._caller.opened(path, msgspec.json.encode(asked)) as answer:
            async for made in _pieces(self._caller.name, answer):
                yield made

    async def forward(self, request: Generate) -> AsyncGenerator[Piece, None]:
        verbatim = request.verbatim
        assert verbatim is not None, "the relay forwards what came as it is"
        name, said, hides_usage = self._caller.name, None, False
        if verbatim.method == "POST":
            said, hides_usage = asked_verbatim(verbatim, upstream_s(request.model))
        path = verbatim.endpoint.removeprefix("/v1") + verbatim.below
        async with self._caller.opened(path, said, verbatim.headers, verbatim.method) as answer:
            reading = reader(name, verbatim, hides_usage=hides_usage)
            async with aclosing(passed(name, answer, reading)) as pieces:
                async for piece in pieces:
                    yield piece

    def _as_openai(self, request: Generate, model: str) -> tuple[str, dict[str, Any]]:
        return body(request, model, self._limit, self._kind)

    async def count(self, asked: CountTokens) -> int:
        raise unsupported("model", "does not tell tokens without generating")

    async def embed(self, asked: Embed) -> Embedded:
        said = embeddings_body(asked, upstream_s(asked.model))
        return self._read(embedded, await self._caller.ask("/embeddings", said))

    async def rerank(self, asked: Rerank) -> Reranked:
        said = rerank_body(asked, upstream_s(asked.model))
        return self._read(reranked, await self._caller.ask("/rerank", said))

    def _read(self, read: Callable[[Any], A], answer: Any) -> A:
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise unreadable(self._caller.name, error) from error


async def _pieces(name: str, answer: ClientResponse) -> AsyncGenerator[Piece, None]:
    is_done = False
    async for data in data_of(answer.content):
        if data == b"[DONE]":
            # Some say so of answers that they gave up in the middle, too.
            break
        try:
            event = read(data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise MeshError(
                Code.UPSTREAM, f"The upstream {name!r} sent an event that cannot be read: {error}"
            ) from error
        if event.error is not None:
            raise MeshError(Code.UPSTREAM, f"The upstream {name!r} failed: {event.error}")
        made = piece(event)
        is_done = is_done or made.reason is not None
        yield made
    if not is_done:
        raise broken_off(name)
