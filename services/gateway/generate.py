"""Serving one request for tokens, from its body to its last byte and its record."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice

from msgspec.structs import replace

from bus import tracing
from bus.deadline import left_s
from proto.dialects.asked import Asked, invalid
from proto.effective import captures, value
from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId, RequestId
from proto.money import decimal
from proto.prompt import Prompt
from proto.subjects import CAPTURE_TELEMETRY, REQUEST_TELEMETRY
from services.gateway.answering import relay
from services.gateway.answering.capture import MARK, Capture
from services.gateway.answering.keepalive import KeepAlive
from services.gateway.answering.record import Record
from services.gateway.answering.verbatim import OwnWords
from services.gateway.answering.wire import About, Endpoint, Wire
from services.gateway.asking.dispatch import Generation
from services.gateway.asking.falling import longest
from services.gateway.asking.mesh import size
from services.gateway.asking.wait import Tell
from services.gateway.bounds import expect_bounded, expect_bounded_prompt
from services.gateway.defaults import with_defaults
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import JSON, ClientLeft, ClientStalled, Exchange, Headers
from services.gateway.idempotency.name import HEADER
from services.gateway.keys.caller import ANONYMOUS
from services.gateway.models.models import fingerprint
from services.gateway.own_words import heard, in_own_words
from services.gateway.session import in_session
from services.gateway.volatile import steadied

MOST_NAMES = 32
FORM = "application/x-www-form-urlencoded"
_NAME = re.compile(r"[\w.\[\]-]{1,64}", re.ASCII)
ROUTE = b"x-odyssai-route"
SETTLING_S = 1.0
"""How long a stream's response waits for the first word of an answer that may yet go elsewhere."""
OVERTIME_S = 1.0
"""The engine keeps the deadline; this much later the gateway gives up on the engine, too."""


async def generate(wire: Wire, gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    async with recorded(wire, gateway, exchange.id, exchange.header(b"traceparent")) as record:
        body = await posted(gateway, exchange, record)
        asked, refused = heard(gateway, wire, body)
        asked = understood(gateway, exchange, record, asked)
        asked = in_own_words(gateway, exchange, wire.endpoint, body, asked, refused)
        async with exchange:
            with deadline(exchange) as expires_at:
                tell = _company(gateway, wire, exchange, asked)
                async with generating(
                    gateway, exchange.known_as, asked, expires_at, tell=tell
                ) as generations:
                    served_by(gateway, record, generations)
                    tell_place(exchange, generations)
                    await _answer(gateway, wire, exchange, record, asked, generations)


def _company(gateway: Gateway, wire: Wire, exchange: Exchange, asked: Asked) -> Tell | None:
    """Who keeps the client company while its model is being loaded, if it streams."""
    if not asked.stream:
        return None
    headers = [*wire.stream_headers, *answer_headers(asked, None)]
    return KeepAlive(
        exchange, headers, lambda: wire.events(asked, _about(gateway, exchange, asked))
    ).tell


@asynccontextmanager
async def recorded(
    endpoint: Endpoint, gateway: Gateway, request: RequestId, traceparent: str | None
) -> AsyncIterator[Record]:
    """A record of what comes of a request, told when it is over. Lets every error through."""
    record = Record(request, endpoint)
    record.trace = tracing.begin(traceparent).trace
    try:
        with tracing.span(f"{endpoint.dialect} {endpoint.endpoint}") as late:
            try:
                yield record
            finally:
                late |= record.attributes()
    except ClientStalled:
        record.status = "stalled"
        raise
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
        if not record.is_handed_on:
            event = record.event(gateway.id)
            key = record.key or ANONYMOUS
            gateway.entrance.spend(key, record.unspent())
            amounts = record.amounts()
            if amounts is not None and record.tariff is not None:
                gateway.meter(key, record.tariff, amounts)
            await gateway.mesh.bus.publish(REQUEST_TELEMETRY, event, gateway.id)
            if record.capture is not None:
                told = record.capture.event(request, endpoint.endpoint, event.model, event.key)
                await gateway.mesh.bus.publish(CAPTURE_TELEMETRY, told, gateway.id)


async def posted(gateway: Gateway, exchange: Exchange, record: Record) -> bytes:
    """The body of a request. Raises MeshError, ClientLeft."""
    record.client_request = exchange.client_id
    body = await exchange.body(gateway.settings.body_limit_bytes)
    record.read()
    if captures(gateway.config.effective):
        record.capture = Capture(body)
        exchange.standing = [*exchange.standing, MARK]
    expect_json(exchange)
    return body


def understood(gateway: Gateway, exchange: Exchange, record: Record, asked: Asked) -> Asked:
    """What is asked, with what the headers add to it. Raises MeshError when it is too much."""
    claim = gateway.admit(exchange, asked.priority)
    record.key = claim.key
    said = replace(
        in_session(asked, exchange.headers),
        key=claim.key,
        weight=claim.weight,
        priority=claim.priority,
        privacy=claim.privacy,
        local_only=claim.local_only,
        hops=claim.hops,
    )
    first = with_model(gateway, exchange, said)
    asked = _finished(gateway, exchange, first)
    record.understood(asked)
    chain = gateway.fallbacks(exchange, first.model, first.called)
    others = [_finished(gateway, exchange, _with_other(gateway, said, other)) for other in chain]
    for each in (asked, *others):
        expect_bounded(each)
        for prompt in each.prompts:
            expect_fitting(prompt, gateway.settings.prompt_limit_chars)
    return replace(asked, fallbacks=tuple(others))


def _finished(gateway: Gateway, exchange: Exchange, asked: Asked) -> Asked:
    """Once its model's defaults are in it."""
    if not gateway.settings.keeps_volatile_lines:
        asked = steadied(asked)
    if asked.stream and HEADER in exchange.headers:
        asked = replace(asked, ignored=(*asked.ignored, HEADER.decode()))
    return asked


def with_model(gateway: Gateway, exchange: Exchange, asked: Asked) -> Asked:
    """By the name that the mesh has for what the client calls it, with the operator's defaults.

    Raises MeshError when the client names none and the operator chose none for that, and when its
    key may not use the model.
    """
    model = gateway.model_for(exchange, asked.model or default_model(gateway), asked.called)
    called = asked.called or ("" if model == asked.model else asked.model)
    named = replace(asked, model=model, called=called)
    return with_defaults(named, gateway.model_config(model, called))


def _with_other(gateway: Gateway, asked: Asked, model: ModelId) -> Asked:
    """The same of another model, with that one's defaults."""
    return with_defaults(replace(asked, model=model), gateway.model_config(model))


def default_model(gateway: Gateway) -> str:
    """Raises MeshError."""
    chosen = value(gateway.config.effective.default_model, "")
    if not chosen:
        raise invalid("`model` is required; add it.", "model")
    return chosen


@asynccontextmanager
async def generating(
    gateway: Gateway,
    request: RequestId,
    asked: Asked,
    expires_at: float | None,
    pictures_in: str = "messages",
    tell: Tell | None = None,
) -> AsyncIterator[list[Generation]]:
    """Every choice, accepted by an engine; whatever is still at work at the end is told to stop.

    ``pictures_in`` names the field of the request that may hold pictures, ``tell``
    hears what is waited for while the model is being loaded. Raises MeshError.
    """
    alike = tuple(prompt for other in asked.fallbacks for prompt in other.prompts)
    held = gateway.images.held(asked.model, asked.prompts, gateway.fleet, pictures_in, alike)
    async with held as prompts:
        chain = _shown(asked, prompts)
        generations = []
        for choice in range(asked.choices):
            name = _name(request, choice, asked)
            questions = [
                each.generate(choice, name, gateway.id, left_s(expires_at)) for each in chain
            ]
            first, *others = questions
            generation = gateway.watch.generation(first, tell, others, is_gathered=not asked.stream)
            generations.append(generation)
        try:
            await _start(generations)
            read = sum(generation.prompt_tokens for generation in generations[:: asked.n])
            gateway.entrance.spend(asked.key, read)
            yield generations
        finally:
            for generation in generations:
                await generation.close()


def _shown(asked: Asked, prompts: tuple[Prompt, ...]) -> list[Asked]:
    """What is asked and its fallbacks, with all their prompts in this order."""
    remaining = iter(prompts)
    return [
        replace(each, prompts=tuple(islice(remaining, len(each.prompts))))
        for each in (asked, *asked.fallbacks)
    ]


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
    about = _about(gateway, exchange, asked)
    if not asked.stream:
        answers = await relay.gather(generations, record)
        served_by(gateway, record, generations)
        tell_route(exchange, generations)
        body = answers[0].words or wire.whole(asked, about, answers)
        headers = [JSON, *answer_headers(asked, generations[0].engine), *cost_header(record)]
        return await exchange.reply(200, body, headers)
    events = wire.events(asked, about)
    if any(each.verbatim for each in (asked, *asked.fallbacks)):
        events = OwnWords(events, lambda: generations[0].question.verbatim is not None)
    exchange.last_words = events.failed
    if not exchange.is_started:
        await settled(generations)
        served_by(gateway, record, generations)
        tell_route(exchange, generations)
        served = answer_headers(asked, generations[0].engine)
        await exchange.begin(200, [*wire.stream_headers, *served])
    try:
        await relay.stream(generations, events, exchange, record)
    finally:
        served_by(gateway, record, generations)


async def settled(generations: list[Generation]) -> None:
    """Return when it is likely which models serve: what is said of them in headers stays true, and
    a refusal has a status of its own. Raises MeshError.
    """
    open_ones = [each for each in generations if each.may_go_elsewhere]
    if open_ones:
        await relay.side_by_side(each.begin(SETTLING_S) for each in open_ones)


def served_by(gateway: Gateway, record: Record, generations: list[Generation]) -> None:
    """Whoever has it now. One that is gone has served it all the same."""
    first = generations[0]
    record.route = longest([generation.route for generation in generations])
    if first.engine is not None and (first.engine, first.question.model) != record.serving:
        record.serving = first.engine, first.question.model
        called = record.model if first.question.model == record.target else ""
        record.tariff = gateway.tariff(*record.serving, called) or record.tariff
    record.engine = first.engine


def tell_route(exchange: Exchange, generations: list[Generation]) -> None:
    """Which models were asked in turn; the last one serves."""
    route = longest([generation.route for generation in generations])
    exchange.standing = [*exchange.standing, (ROUTE, printable(" > ".join(route)).encode())]


def tell_place(exchange: Exchange, generations: list[Generation]) -> None:
    """For whoever has to wait: how many requests go before, of the choice that waits longest."""
    place = max(generation.place for generation in generations)
    if place:
        exchange.standing = [*exchange.standing, (b"x-odyssai-queue-place", b"%d" % place)]


def _about(gateway: Gateway, exchange: Exchange, asked: Asked) -> About:
    return About(
        request=exchange.id,
        created=int(time.time()),
        fingerprint=fingerprint(gateway.fleet, asked.model),
    )


def answer_headers(asked: Asked, engine: EngineId | None) -> Headers:
    """Who serves it, and which of its fields have no effect here."""
    headers = [(b"x-odyssai-engine", (engine or "").encode())]
    if asked.ignored:
        headers.append((b"x-odyssai-ignored", ", ".join(_fit_names(asked.ignored)).encode()))
    return headers


def printable(text: str) -> str:
    """As it may stand in a header: upstreams call their models as they like."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def cost_header(record: Record) -> Headers:
    """None where nobody knows what it costs."""
    cost = record.metered().cost_nano_usd
    return [] if cost is None else [(b"x-odyssai-cost-usd", decimal(cost).encode())]


def _fit_names(names: tuple[str, ...]) -> list[str]:
    """Clients choose the names of fields: what is no name must not end up in a header."""
    return [name if _NAME.fullmatch(name) else "?" for name in names[:MOST_NAMES]]


def _name(request: RequestId, choice: int, asked: Asked) -> RequestId:
    return request if asked.choices == 1 else RequestId(f"{request}-{choice}")


def expect_json(exchange: Exchange) -> None:
    """Raises MeshError when the body is declared to be something else.

    Also what makes browsers ask before a foreign page may post here.
    """
    is_page = exchange.header(b"origin") is not None
    said = exchange.header(b"content-type") or ("none" if is_page else "application/json")
    declared = said.partition(";")[0].strip()
    if declared.lower() == FORM and not is_page:
        # What curl says when it is told nothing. A page would have had to tell where it is from.
        return
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
    expect_bounded_prompt(prompt)


@contextmanager
def deadline(exchange: Exchange) -> Iterator[float | None]:
    """Monotonic time after which the client no longer waits, if it says so in a header."""
    header = exchange.header(b"x-request-timeout")
    if header is None:
        yield None
        return
    seconds = _seconds(header)
    late = MeshError(Code.DEADLINE, f"No answer within {seconds:g} s; allow more, or ask for less.")
    timer = asyncio.get_running_loop().call_later(seconds + OVERTIME_S, exchange.interrupt, late)
    try:
        yield time.monotonic() + seconds
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
