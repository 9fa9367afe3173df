"""Ollama's endpoints for vectors."""

import time
from array import array
from sys import byteorder

import msgspec
from msgspec import Struct

from bus import tracing
from bus.fleet import card_of
from proto.dialects import ollama
from proto.dialects.asked import invalid
from proto.embedding import Embed, Embedded
from proto.ids import RequestId
from proto.inference import Text
from proto.subjects import EMBED
from services.gateway.exchange import Exchange
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_fitting, expect_json
from services.gateway.ollama import resolve

EMBED_S = 120.0
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
    found = await _embedded(gateway, exchange, asked.model, asked.texts, asked.dimensions)
    answer = EmbedAnswer(
        model=asked.model,
        embeddings=_vectors(found),
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
    found = await _embedded(gateway, exchange, asked.model, texts, None)
    vectors = _vectors(found)
    answer = EmbeddingsAnswer(vectors[0] if vectors else [])
    await exchange.reply(200, msgspec.json.encode(answer))


async def _embedded(
    gateway: Gateway, exchange: Exchange, name: str, texts: list[str], dimensions: int | None
) -> Embedded:
    """Without a text it is asked whether the model is there, and nothing more."""
    model = resolve(gateway.fleet, name)
    known = [card_of(engine, model) for engine in gateway.fleet.engines()]
    if any(known) and not any(card is not None and card.kind == "embedder" for card in known):
        raise invalid(f'"{name}" does not support embeddings', "model")
    if not texts:
        return Embedded(vectors=(), tokens=0)
    for text in texts:
        expect_fitting(Text(text=text), gateway.settings.prompt_limit_chars)
    tracing.begin(exchange.header(b"traceparent"))
    question = Embed(
        request=RequestId(exchange.id),
        model=model,
        inputs=tuple(Text(text=text) for text in texts),
        dimensions=dimensions or None,
        expires_s=time.time() + EMBED_S,
    )
    async with exchange:
        return await gateway.mesh.ask(EMBED, question, model, sum(map(len, texts)), wait_s=EMBED_S)


def _vectors(found: Embedded) -> list[list[float]]:
    return [_floats(vector) for vector in found.vectors]


def _floats(vector: bytes) -> list[float]:
    numbers = array("f", vector)
    if byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
