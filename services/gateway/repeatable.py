"""Endpoints whose requests may be asked again, under an Idempotency-Key, and are answered once."""

from functools import partial

from services.gateway.gateway import Endpoint, Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.idempotency.name import HEADER, is_streamed


def repeatable(endpoint: Endpoint) -> Endpoint:
    """The same endpoint. A stream cannot be repeated: its answer says that the key is ignored."""

    async def serve(gateway: Gateway, exchange: Exchange) -> None:
        if HEADER not in exchange.headers:
            return await endpoint(gateway, exchange)
        body = await exchange.body(gateway.settings.body_limit_bytes)
        if is_streamed(exchange.path, body):
            return await endpoint(gateway, exchange)
        caller = gateway.entrance.caller(exchange)

        async def serve_apart(apart: Exchange) -> None:
            with gateway.entrance.goes_on(apart, caller):
                await endpoint(gateway, apart)

        return await gateway.once.answer(
            exchange, body, serve_apart, partial(gateway.admit, exchange)
        )

    return serve
