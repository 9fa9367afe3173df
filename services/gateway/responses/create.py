"""POST /v1/responses: answered while the client waits, or left to the background."""

from msgspec.structs import replace

from proto.dialects.responses.event import replayed
from proto.dialects.responses.stored import StoredResponse
from proto.errors import MeshError
from services.gateway.answering import relay
from services.gateway.answering.keepalive import KeepAlive
from services.gateway.answering.record import Record
from services.gateway.asking.dispatch import Generation
from services.gateway.asking.wait import Tell
from services.gateway.gateway import Gateway
from services.gateway.generate import (
    answer_headers,
    cost_header,
    deadline,
    generating,
    recorded,
    served_by,
    settled,
    tell_place,
    tell_route,
)
from services.gateway.http.exchange import EVENT_STREAM, JSON, Exchange
from services.gateway.responses import turn as turns
from services.gateway.responses import verbatim
from services.gateway.responses.replay import tell
from services.gateway.responses.turn import ENDPOINT, Turn
from services.gateway.responses.work import Origin, Work
from services.gateway.stored.store import keep
from services.gateway.stored.told import Scribe


async def create(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    trace = exchange.header(b"traceparent")
    async with recorded(ENDPOINT, gateway, exchange.id, trace) as record:
        turn = await turns.read(gateway, exchange, record)
        if not turn.request.background:
            return await _answer(gateway, exchange, record, turn)
        stored = await _leave_to_background(gateway, exchange, turn)
        record.is_handed_on = True
    headers = answer_headers(turn.asked, None)
    if stored.tells_events:
        return await tell(gateway, exchange, stored, headers)
    return await exchange.reply(200, stored.response.encoded(), [JSON, *headers])


async def _answer(gateway: Gateway, exchange: Exchange, record: Record, turn: Turn) -> None:
    async with exchange:
        with deadline(exchange) as expires_at:
            tell = _company(exchange, turn)
            try:
                async with generating(
                    gateway, exchange.known_as, turn.asked, expires_at, "input", tell
                ) as generations:
                    served_by(gateway, record, generations)
                    tell_place(exchange, generations)
                    answer = _stream if turn.asked.stream else _whole
                    await answer(gateway, exchange, record, turn, generations)
            except MeshError as error:
                if exchange.is_started:
                    turn.events.fail(error)
                    await keep(gateway.background.store, turn.stored())
                raise


def _company(exchange: Exchange, turn: Turn) -> Tell | None:
    """Who keeps the client company while its model is being loaded, if it streams."""
    if not turn.asked.stream:
        return None
    headers = [*EVENT_STREAM, *answer_headers(turn.asked, None)]
    # A provider's own words have their own beginning.
    opening = bytes if turn.may_be_verbatim else turn.events.opening
    return KeepAlive(exchange, headers, lambda: turn.events, opening).tell


async def _whole(
    gateway: Gateway,
    exchange: Exchange,
    record: Record,
    turn: Turn,
    generations: list[Generation],
) -> None:
    (answer,) = await relay.gather(generations, record)
    served_by(gateway, record, generations)
    tell_route(exchange, generations)
    store = gateway.background.store
    if answer.words:
        body = answer.words
        await verbatim.keep_whole(store, turn, generations[0].question.model, body)
    else:
        for _ in replayed(turn.events, answer):
            pass
        body = (await keep(store, turn.stored())).encoded()
    headers = [JSON, *answer_headers(turn.asked, record.engine), *cost_header(record)]
    await exchange.reply(200, body, headers)


async def _stream(
    gateway: Gateway,
    exchange: Exchange,
    record: Record,
    turn: Turn,
    generations: list[Generation],
) -> None:
    events, store = turn.events, gateway.background.store
    exchange.last_words = events.failed
    if not exchange.is_started:
        await settled(generations)
        served_by(gateway, record, generations)
        tell_route(exchange, generations)
        headers = [*EVENT_STREAM, *answer_headers(turn.asked, record.engine)]
        await exchange.begin(200, headers)
        if not turn.may_be_verbatim:
            await exchange.write(events.opening())
    try:
        if turn.may_be_verbatim:
            await verbatim.stream(generations, turn, store, exchange, record)
        else:
            await relay.stream(generations, events, exchange, record)
    finally:
        served_by(gateway, record, generations)
    if not exchange.is_complete:
        events.response = await keep(store, turn.stored())
        await exchange.write(events.closing(), more=False)


async def _leave_to_background(gateway: Gateway, exchange: Exchange, turn: Turn) -> StoredResponse:
    """The record by which it is found from now on. Raises MeshError."""
    background, id = gateway.background, turn.events.response.id
    stored = replace(turn.stored(), gateway=gateway.id, tells_events=turn.asked.stream)
    background.admit(id)
    try:
        revision = await background.store.write(stored)
        bucket = await background.store.events()
    except BaseException:
        background.dismiss(id)
        raise
    scribe = Scribe(bucket, id) if stored.tells_events else None
    origin = Origin(exchange.id, exchange.client_id, exchange.header(b"traceparent"))
    work = Work(gateway, origin, turn, stored, revision, scribe)
    background.start(id, work)
    return stored
