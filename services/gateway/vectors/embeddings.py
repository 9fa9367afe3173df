"""POST /v1/embeddings: texts out, vectors back, in as many questions as it takes."""

import asyncio
import base64
from array import array
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bus.deadline import left_s
from bus.fleet import card_of
from proto.dialects.asked import Asked
from proto.dialects.embeddings import (
    EmbeddingsRequest,
    EmbeddingsUsage,
    Input,
    Vector,
    asked_embeddings,
)
from proto.embedding import Embed, Embedded, Side
from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId, RequestId
from proto.subjects import EMBED
from proto.telemetry import Dialect
from services.gateway.answering import relay
from services.gateway.answering.record import Record
from services.gateway.asking.enquiry import Reply
from services.gateway.asking.mesh import size
from services.gateway.asking.placing import expect_kind
from services.gateway.gateway import Gateway
from services.gateway.generate import (
    answer_headers,
    cost_header,
    deadline,
    expect_fitting,
    posted,
    recorded,
    understood,
)
from services.gateway.http.exchange import JSON, Exchange
from services.gateway.keys.caller import Claim
from services.gateway.own_words import spoken_by, unread, worded
from services.gateway.passing import passed
from services.gateway.vectors.shares import shares

MOST_BYTES = 4 << 20
"""Of vectors in one message: half of what the bus carries."""
USUAL_SIZE = 4096
"""Numbers in a vector, where nobody says how many there are: as many as the largest have."""
BREATH = 64
"""Vectors written before others have a turn: as text, one costs up to a millisecond."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What is asked of the mesh, in whatever dialect it came."""

    model: ModelId
    inputs: tuple[Input, ...]
    dimensions: int | None = None
    side: Side | None = None
    truncate: bool = False
    claim: Claim


class Found(Struct, frozen=True):
    vectors: list[bytes]
    """One for each input: float32, little endian."""
    tokens: int
    engine: EngineId | None = None
    """One of those that answered."""


class Embeddings:
    dialect: Dialect = "openai"
    endpoint = "/v1/embeddings"


async def embed_texts(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    trace = exchange.header(b"traceparent")
    async with recorded(Embeddings(), gateway, exchange.id, trace) as record:
        record.operation = "embeddings"
        body = await posted(gateway, exchange, record)
        known = unread(gateway, Embeddings.endpoint, body)
        if known is None:
            await _understood(gateway, exchange, record, asked_embeddings(body))
        else:
            await _as_it_came(gateway, exchange, record, body, known)


async def _understood(
    gateway: Gateway, exchange: Exchange, record: Record, asked: EmbeddingsRequest
) -> None:
    """Raises MeshError, ClientLeft."""
    model = gateway.model_for(exchange, asked.model)
    may_use = partial(gateway.entrance.may_use, exchange)
    expect_kind(model, "embedder", gateway.fleet, gateway.shelf, may_use)
    claim = gateway.admit(exchange)
    record.key = claim.key
    wanted = Wanted(
        model=model,
        inputs=asked.inputs(),
        dimensions=asked.dimensions,
        side=asked.input_type,
        truncate=bool(asked.truncate),
        claim=claim,
    )
    record.model = asked.model
    async with exchange:
        with deadline(exchange) as expires_at:
            found = await vectors(gateway, exchange.id, wanted, expires_at)
        counted(gateway, record, model, found.engine, found.tokens)
        is_text = asked.encoding_format == "base64"
        body = [part async for part in _body(found, asked.model, is_text)]
        served = (b"x-odyssai-engine", (found.engine or "").encode())
        await exchange.reply(200, b"".join(body), [JSON, served, *cost_header(record)])


async def _as_it_came(
    gateway: Gateway, exchange: Exchange, record: Record, body: bytes, known: Asked
) -> None:
    """Its provider speaks as the client does. Raises MeshError, ClientLeft."""
    asked = replace(understood(gateway, exchange, record, known), fallbacks=())
    spoken = worded(asked, spoken_by(exchange, Embeddings.endpoint, body))
    answer = await passed(gateway, exchange, record, spoken)
    headers = [JSON, *answer_headers(asked, record.engine), *cost_header(record)]
    await exchange.reply(200, answer, headers)


def counted(
    gateway: Gateway, record: Record, model: ModelId, engine: EngineId | None, tokens: int
) -> None:
    """What was read for an answer that has no tokens of its own, by one of those that read it."""
    record.engine, record.tariff = engine, gateway.tariff(engine, model, record.model)
    record.counted(tokens)


async def vectors(
    gateway: Gateway, request: RequestId, wanted: Wanted, expires_at: float | None
) -> Found:
    """Every input's vector, in order. Raises MeshError."""
    for given in wanted.inputs:
        expect_fitting(given, gateway.settings.prompt_limit_chars)
    sizes = [size(given) for given in wanted.inputs]
    holders = gateway.fleet.holders(wanted.model)
    cards = (card_of(beat, wanted.model) for beat in holders)
    numbers = max((card.embedding_size for card in cards if card), default=0) or USUAL_SIZE
    parts = shares(sizes, len(holders), MOST_BYTES // (4 * numbers))
    replies = await relay.side_by_side(
        _ask(gateway, RequestId(f"{request}-{number}"), wanted, part, sum(sizes[part]), expires_at)
        for number, part in enumerate(parts)
    )
    tokens = sum(reply.answer.tokens for reply in replies)
    gateway.entrance.spend(wanted.claim.key, tokens)
    return Found(
        [vector for reply in replies for vector in reply.answer.vectors],
        tokens,
        replies[0].engine,
    )


async def _ask(
    gateway: Gateway,
    request: RequestId,
    wanted: Wanted,
    part: slice,
    chars: int,
    expires_at: float | None,
) -> Reply[Embedded]:
    question = Embed(
        request=request,
        model=wanted.model,
        inputs=wanted.inputs[part],
        first=part.start,
        dimensions=wanted.dimensions,
        side=wanted.side,
        truncate=wanted.truncate,
        left_s=left_s(expires_at),
        key=wanted.claim.key,
        weight=wanted.claim.weight,
        priority=wanted.claim.priority,
        local_only=wanted.claim.local_only,
        hops=wanted.claim.hops,
        gateway=gateway.id,
    )
    reply = await gateway.watch.enquire(
        EMBED, question, request=request, model=wanted.model, chars=chars
    )
    given, asked = len(reply.answer.vectors), len(question.inputs)
    if given != asked:
        why = f"Engine {reply.engine} gave {given} vectors for {asked} inputs."
        raise MeshError(Code.INTERNAL, why)
    return reply


async def _body(found: Found, model: str, is_text: bool) -> AsyncIterator[bytes]:
    """EmbeddingsAnswer as JSON, piece by piece: all at once it would hold up every stream."""
    yield b'{"object":"list","data":['
    for index, vector in enumerate(found.vectors):
        if index % BREATH == 0:
            await asyncio.sleep(0)
        yield b"," * (index > 0) + msgspec.json.encode(_vector(index, vector, is_text))
    usage = EmbeddingsUsage(found.tokens, found.tokens)
    yield b'],"model":' + msgspec.json.encode(model)
    yield b',"usage":' + msgspec.json.encode(usage) + b"}"


def _vector(index: int, vector: bytes, is_text: bool) -> Vector:
    if is_text:
        return Vector(index=index, embedding=base64.b64encode(vector).decode())
    return Vector(index=index, embedding=numbers_of(vector))


def numbers_of(vector: bytes) -> list[float]:
    return array("f", vector).tolist()
