"""GET /v1/responses/{id}?stream=true: what a stored response tells, from any event on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from proto.dialects.asked import WAITING, invalid
from proto.dialects.responses.replay import closing, retold, trouble
from proto.dialects.responses.stored import StoredResponse
from proto.errors import MeshError
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import EVENT_STREAM, Exchange, Headers
from services.gateway.stored import told
from services.gateway.stored.background import Background
from services.gateway.stored.store import not_found

LOOK_S = 1.0


async def tell(
    gateway: Gateway,
    exchange: Exchange,
    stored: StoredResponse,
    headers: Headers,
    after: int = -1,
) -> None:
    """Every event with a number above ``after``, those to come as well. Raises MeshError."""
    following = 0

    def last_words(error: MeshError) -> bytes:
        return trouble(error, following)

    tells = _told if stored.tells_events else _retold
    async with exchange, aclosing(tells(gateway.background, stored)) as events:
        async for number, event in events:
            if not exchange.is_started:
                exchange.last_words = last_words
                await exchange.begin(200, [*EVENT_STREAM, *headers])
            if event == WAITING or number > after:
                await exchange.write(event)
            following = number + 1
        await exchange.write(b"", more=False)


async def _told(
    background: Background, stored: StoredResponse
) -> AsyncGenerator[tuple[int, bytes]]:
    """As it was written down. The end of one whose gateway died is told by its record."""
    id = stored.response.id
    bucket = await background.store.events()
    async with aclosing(told.read(bucket, id)) as events:
        async for number, event in events:
            yield number, event
            if event != WAITING:
                continue
            response = (await _found(background, id)).response
            if response.is_over and not number:
                raise _faded(id)
            if response.is_over:
                yield number, closing(response, number)
                return


async def _retold(
    background: Background, stored: StoredResponse
) -> AsyncGenerator[tuple[int, bytes]]:
    """Nobody wrote down what it told: it is told anew, when it is over."""
    while not stored.response.is_over:
        yield -1, WAITING
        await asyncio.sleep(LOOK_S)
        stored = await _found(background, stored.response.id)
    for numbered in enumerate(retold(stored.response)):
        yield numbered


async def _found(background: Background, id: str) -> StoredResponse:
    stored = await background.find(id)
    if stored is None:
        raise not_found(id)
    return stored


def _faded(id: str) -> MeshError:
    return invalid(
        f"What {id!r} told as a stream is no longer kept; retrieve it without `stream`.", "stream"
    )
