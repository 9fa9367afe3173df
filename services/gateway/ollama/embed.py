"""Ollama's endpoints for vectors."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from proto.dialects import ollama
from proto.dialects.asked import invalid
from proto.prompt import Text
from proto.telemetry import Dialect
from services.gateway.answering.record import Record
from services.gateway.asking.placing import other_kind
from services.gateway.gateway import Gateway
from services.gateway.generate import cost_header, deadline, posted, recorded
from services.gateway.http.exchange import JSON, Exchange
from services.gateway.ollama.running import resolve
from services.gateway.vectors.embeddings import Found, Wanted, counted, numbers_of, vectors

NS = 1_000_000_000


class EmbedAnswer(Struct, frozen=True, kw_only=True):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    """Nanoseconds."""
    load_duration: int = 0
    prompt_eval_count: int


class EmbeddingsAnswer(Struct, frozen=True):
    embedding: list[float]


class Embedding(Struct):
    endpoint: str
    dialect: Dialect = "ollama"


async def embed(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/embed. Raises MeshError, ClientLeft."""
    began = time.monotonic()
    async with _recorded(gateway, exchange, "/api/embed") as record:
        asked = ollama.asked_embed(await posted(gateway, exchange, record))
        truncate = asked.truncate is not False
        dimensions = asked.dimensions or None
        name, texts = asked.model, asked.texts
        found = await _found(gateway, exchange, record, name, texts, dimensions, truncate)
        answer = EmbedAnswer(
            model=asked.model,
            embeddings=[numbers_of(vector) for vector in found.vectors],
            total_duration=int(NS * (time.monotonic() - began)),
            prompt_eval_count=found.tokens,
        )
        await exchange.reply(200, msgspec.json.encode(answer), [JSON, *cost_header(record)])


async def embed_one(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/embeddings. Raises MeshError, ClientLeft."""
    async with _recorded(gateway, exchange, "/api/embeddings") as record:
        asked = ollama.asked_embeddings(await posted(gateway, exchange, record))
        texts = [asked.prompt] if asked.prompt else []
        found = await _found(gateway, exchange, record, asked.model, texts)
        answer = EmbeddingsAnswer(next(map(numbers_of, found.vectors), []))
        await exchange.reply(200, msgspec.json.encode(answer), [JSON, *cost_header(record)])


@asynccontextmanager
async def _recorded(gateway: Gateway, exchange: Exchange, endpoint: str) -> AsyncIterator[Record]:
    trace = exchange.header(b"traceparent")
    async with recorded(Embedding(endpoint), gateway, exchange.id, trace) as record:
        record.operation = "embeddings"
        yield record


async def _found(
    gateway: Gateway,
    exchange: Exchange,
    record: Record,
    name: str,
    texts: list[str],
    dimensions: int | None = None,
    truncate: bool = True,
) -> Found:
    """Without a text it is asked whether the model is there, and nothing more."""
    record.model = name
    model = resolve(gateway, exchange, name)
    if other_kind(model, "embedder", gateway.fleet, gateway.shelf) is not None:
        raise invalid(f'"{name}" does not support embeddings', "model")
    if not texts:
        return Found([], 0)
    claim = gateway.admit(exchange)
    record.key = claim.key
    wanted = Wanted(
        model=model,
        inputs=tuple(Text(text=text) for text in texts),
        dimensions=dimensions,
        truncate=truncate,
        claim=claim,
    )
    async with exchange:
        with deadline(exchange) as expires_at:
            found = await vectors(gateway, exchange.id, wanted, expires_at)
    counted(gateway, record, model, found.engine, found.tokens)
    return found
