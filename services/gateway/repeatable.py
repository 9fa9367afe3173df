"""Endpoints whose requests may be asked again, under an Idempotency-Key, and are answered once."""

from collections.abc import Awaitable, Callable
from functools import partial

from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.idempotency.name import HEADER, is_streamed

Endpoint = Callable[[Gateway, Exchange], Awaitable[None]]


def repeatable(endpoint: Endpoint) -> Endpoint:
    """The same endpoint. A stream cannot be repeated: its answer says that the key is ignored."""

    async def serve(gateway: Gateway, exchange: Exchange) -> None:
        if HEADER not in exchange.headers:
            return await endpoint(gateway, exchange)
        body = await exchange.body(gateway.settings.body_limit_bytes)
        if is_streamed(exchange.path, body):
            return await endpoint(gateway, exchange)
        return await gateway.once.answer(
            exchange, body, partial(endpoint, gateway), partial(gateway.admit, exchange)
        )

    return serve
