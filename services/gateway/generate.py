"""Serving one request for tokens, from its body to its last byte and its record."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bus import tracing
from proto.dialects.asked import Asked
from proto.errors import Code, MeshError
from proto.ids import RequestId
from proto.inference import Prompt
from proto.subjects import REQUEST_TELEMETRY
from services.gateway import relay
from services.gateway.dispatch import Generation
from services.gateway.exchange import JSON, ClientLeft, Exchange, Headers
from services.gateway.gateway import Gateway
from services.gateway.mesh import size
from services.gateway.models import fingerprint
from services.gateway.record import Record
from services.gateway.session import in_session
from services.gateway.volatile import steadied
from services.gateway.wire import About, Wire

OVERTIME_S = 1.0
"""The engine keeps the deadline; this much later the gateway gives up on the engine, too."""


async def generate(wire: Wire, gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    record = Record(exchange.id, wire)
    record.trace = tracing.begin(exchange.header(b"traceparent")).trace
    try:
        with tracing.span(f"{wire.dialect} {wire.endpoint}") as late:
            try:
                await _serve(gateway, wire, exchange, record)
            finally:
                late |= record.attributes()
    except ClientLeft:
        record.status = "cancelled"
        raise
    except MeshError as error:
        record.status = error.code.word
        raise
    except BaseException:
        record.status = Code.INTERNAL.word
        raise
    finally:
        event = record.event(gateway.id)
        await gateway.mesh.bus.publish(REQUEST_TELEMETRY, event, gateway.id)


async def _serve(gateway: Gateway, wire: Wire, exchange: Exchange, record: Record) -> None:
    body = await exchange.body(gateway.settings.body_limit_bytes)
    record.read()
    expect_json(exchange)
    asked = in_session(wire.asked(body), exchange.headers)
    if not gateway.settings.keeps_volatile_lines:
        asked = steadied(asked)
    record.understood(asked)
    for prompt in asked.prompts:
        expect_fitting(prompt, gateway.settings.prompt_limit_chars)
    async with exchange:
        with _deadline(exchange) as expires_s:
            generations = [
                gateway.watch.generation(
                    asked.generate(choice, _name(exchange, choice, asked), gateway.id, expires_s)
                )
                for choice in range(asked.choices)
            ]
            try:
                await _start(generations)
                record.engine = generations[0].engine
                await _answer(gateway, wire, exchange, record, asked, generations)
            finally:
                for generation in generations:
                    await generation.close()


async def _start(generations: list[Generation]) -> None:
    if len(generations) == 1:
        await generations[0].start()
    else:
        await relay.side_by_side(generation.start() for generation in generations)


async def _answer(
    gateway: Gateway,
    wire: Wire,
    exchange: Exchange,
    record: Record,
    asked: Asked,
    generations: list[Generation],
) -> None:
    about = About(
        request=exchange.id,
        created=int(time.time()),
        fingerprint=fingerprint(gateway.fleet, asked.model),
    )
    if not asked.stream:
        answers = await relay.gather(generations, record)
        record.engine = generations[0].engine
        body = wire.whole(asked, about, answers)
        return await exchange.reply(200, body, [JSON, *_about(asked, generations)])
    events = wire.events(asked, about)
    exchange.last_words = events.failed
    await exchange.begin(200, [*wire.stream_headers, *_about(asked, generations)])
    try:
        await relay.stream(generations, events, exchange, record)
    finally:
        record.engine = generations[0].engine


def _about(asked: Asked, generations: list[Generation]) -> Headers:
    """Who serves it, and which of its fields have no effect here."""
    headers = [(b"x-odyssai-engine", (generations[0].engine or "").encode())]
    if asked.ignored:
        headers.append((b"x-odyssai-ignored", ", ".join(asked.ignored).encode()))
    return headers


def _name(exchange: Exchange, choice: int, asked: Asked) -> RequestId:
    return exchange.id if asked.choices == 1 else RequestId(f"{exchange.id}-{choice}")


def expect_json(exchange: Exchange) -> None:
    """Raises MeshError when the body is declared to be something else.

    Also what makes browsers ask before a foreign page may post here.
    """
    declared = (exchange.header(b"content-type") or "application/json").partition(";")[0].strip()
    if declared.lower() != "application/json" and not declared.lower().endswith("+json"):
        raise MeshError(
            Code.INVALID_REQUEST,
            f"The content type is {declared}; send JSON with content-type: application/json.",
        )


def expect_fitting(prompt: Prompt, limit_chars: int) -> None:
    """Raises MeshError when a prompt is more than the bus carries."""
    if size(prompt) > limit_chars:
        raise MeshError(
            Code.TOO_LARGE,
            f"The prompt has {size(prompt)} characters, {limit_chars} are the most; shorten it.",
        )


@contextmanager
def _deadline(exchange: Exchange) -> Iterator[float | None]:
    """Unix time after which the client no longer waits, if it says so in a header."""
    header = exchange.header(b"x-request-timeout")
    if header is None:
        yield None
        return
    seconds = _seconds(header)
    late = MeshError(Code.DEADLINE, f"No answer within {seconds:g} s; allow more, or ask for less.")
    timer = asyncio.get_running_loop().call_later(seconds + OVERTIME_S, exchange.interrupt, late)
    try:
        yield time.time() + seconds
    finally:
        timer.cancel()


def _seconds(header: str) -> float:
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"X-Request-Timeout is {header!r}; give seconds above 0, up to 86400.",
            param="X-Request-Timeout",
        )
    return seconds
