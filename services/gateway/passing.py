"""A question that goes to an upstream as it is, and whose answer comes in one piece."""

from proto.dialects.asked import Asked
from services.gateway.answering import relay
from services.gateway.answering.record import Record
from services.gateway.gateway import Gateway
from services.gateway.generate import deadline, generating, served_by, tell_route
from services.gateway.http.exchange import Exchange


async def passed(gateway: Gateway, exchange: Exchange, record: Record, asked: Asked) -> bytes:
    """The upstream's answer to ``asked.verbatim``. Raises MeshError, ClientLeft."""
    async with exchange:
        with deadline(exchange) as expires_at:
            async with generating(gateway, exchange.known_as, asked, expires_at) as generations:
                (answer,) = await relay.gather(generations, record)
                served_by(gateway, record, generations)
                tell_route(exchange, generations)
    return answer.words
