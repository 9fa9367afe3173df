"""Ollama's endpoints for vectors."""

import time

import msgspec
from msgspec import Struct

from bus import tracing
from proto.dialects import ollama
from proto.dialects.asked import invalid
from proto.inference import Text
from services.gateway.asking.placing import other_kind
from services.gateway.gateway import Gateway
from services.gateway.generate import deadline, expect_json
from services.gateway.http.exchange import Exchange
from services.gateway.ollama.running import resolve
from services.gateway.vectors.embeddings import Found, Wanted, numbers_of, vectors

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


async def embed(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/embed. Raises MeshError, ClientLeft."""
    began = time.monotonic()
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = ollama.asked_embed(body)
    truncate = asked.truncate is not False
    dimensions = asked.dimensions or None
    found = await _found(gateway, exchange, asked.model, asked.texts, dimensions, truncate)
    answer = EmbedAnswer(
        model=asked.model,
        embeddings=[numbers_of(vector) for vector in found.vectors],
        total_duration=int(NS * (time.monotonic() - began)),
        prompt_eval_count=found.tokens,
    )
    await exchange.reply(200, msgspec.json.encode(answer))


async def embed_one(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/embeddings. Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = ollama.asked_embeddings(body)
    texts = [asked.prompt] if asked.prompt else []
    found = await _found(gateway, exchange, asked.model, texts)
    answer = EmbeddingsAnswer(next(map(numbers_of, found.vectors), []))
    await exchange.reply(200, msgspec.json.encode(answer))


async def _found(
    gateway: Gateway,
    exchange: Exchange,
    name: str,
    texts: list[str],
    dimensions: int | None = None,
    truncate: bool = True,
) -> Found:
    """Without a text it is asked whether the model is there, and nothing more."""
    model = resolve(gateway, exchange, name)
    if other_kind(model, "embedder", gateway.fleet, gateway.shelf) is not None:
        raise invalid(f'"{name}" does not support embeddings', "model")
    if not texts:
        return Found([], 0)
    wanted = Wanted(
        model=model,
        inputs=tuple(Text(text=text) for text in texts),
        dimensions=dimensions,
        truncate=truncate,
        claim=gateway.admit(exchange),
    )
    tracing.begin(exchange.header(b"traceparent"))
    async with exchange:
        with deadline(exchange) as expires_at:
            return await vectors(gateway, exchange.id, wanted, expires_at)
