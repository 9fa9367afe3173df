"""One upstream that speaks Anthropic's Messages, as a stream of pieces.

Protocol: https://platform.claude.com/docs/en/api/messages, streamed as server-sent events.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import ClientResponse

from proto.dialects.anthropic import TokenCount
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.presence import ModelCard
from proto.tokenization import CountTokens
from services.cloud.anthropic.abilities import UNKNOWN, Abilities
from services.cloud.anthropic.body import body, count_body
from services.cloud.anthropic.catalog import PAGE, Model, Page
from services.cloud.anthropic.events import Answer, Event, read
from services.cloud.anthropic.passing import ENDPOINTS, Reading
from services.cloud.anthropic.refusal import failed
from services.cloud.calling.breaker import Breaker
from services.cloud.calling.caller import Caller
from services.cloud.calling.events import data_of
from services.cloud.calling.refusal import broken_off, unreadable
from services.cloud.naming import upstream_s
from services.cloud.piece import Piece
from services.cloud.settings import Upstream
from services.cloud.unsupported import unsupported
from services.cloud.verbatim.editing import edited
from services.cloud.verbatim.passing import passed

VERSION = {"anthropic-version": "2023-06-01"}
MOST_PAGES = 20


class Anthropic:
    """A Client, and Forwarding."""

    speaks = ENDPOINTS

    def __init__(self, upstream: Upstream) -> None:
        keys = [{"x-api-key": key} for key in upstream.keys]
        self._caller = Caller(upstream.name, upstream.url, VERSION, keys, upstream.patience)
        self._abilities: dict[str, Abilities] = {}

    @property
    def breaker(self) -> Breaker:
        return self._caller.breaker

    async def close(self) -> None:
        await self._caller.close()

    async def catalog(self) -> tuple[ModelCard, ...]:
        models: list[Model] = []
        after = ""
        for _ in range(MOST_PAGES):
            page = self._page(await self._caller.get(f"/models?limit={PAGE}{after}"))
            models += page.data
            if not (page.has_more and page.last_id):
                break
            after = f"&after_id={quote(page.last_id, safe='')}"
        models = [model for model in models if model.is_there]
        self._abilities = {model.id: model.abilities for model in models}
        return tuple(model.card for model in models)

    def _page(self, answer: Any) -> Page:
        try:
            return msgspec.convert(answer, Page)
        except msgspec.ValidationError as error:
            raise unreadable(self._caller.name, error) from error

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        model = upstream_s(request.model)
        asked = body(request, model, self._abilities.get(model, UNKNOWN))
        async with self._caller.opened("/messages", msgspec.json.encode(asked)) as answer:
            async for made in _pieces(self._caller.name, answer):
                yield made

    async def forward(self, request: Generate) -> AsyncGenerator[Piece, None]:
        verbatim = request.verbatim
        assert verbatim is not None, "the relay forwards what came as it is"
        model = msgspec.json.encode(upstream_s(request.model))
        said = edited(verbatim.body, {"model": model})
        async with self._caller.opened("/messages", said, verbatim.headers) as answer:
            reading = Reading(self._caller.name)
            async with aclosing(passed(self._caller.name, answer, reading)) as pieces:
                async for piece in pieces:
                    yield piece

    async def count(self, asked: CountTokens) -> int:
        model = upstream_s(asked.model)
        said = count_body(asked.prompt, model, self._abilities.get(model, UNKNOWN))
        answer = await self._caller.ask("/messages/count_tokens", said)
        try:
            return msgspec.convert(answer, TokenCount).input_tokens
        except msgspec.ValidationError as error:
            raise unreadable(self._caller.name, error) from error

    async def embed(self, asked: Embed) -> Embedded:
        raise unsupported("model", "makes no embeddings")

    async def rerank(self, asked: Rerank) -> Reranked:
        raise unsupported("model", "ranks nothing")


async def _pieces(name: str, stream: ClientResponse) -> AsyncGenerator[Piece, None]:
    answer = Answer()
    async for data in data_of(stream.content):
        event = _read(name, data)
        if event.type == "error":
            raise failed(name, event.error)
        if made := answer.pieces(event):
            yield made
        if answer.is_complete:
            return
    raise broken_off(name)


def _read(name: str, data: bytes) -> Event:
    try:
        return read(data)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise MeshError(
            Code.UPSTREAM, f"The upstream {name!r} sent an event that cannot be read: {error}"
        ) from error
