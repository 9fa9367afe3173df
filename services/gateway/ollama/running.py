"""Ollama's endpoints that run a model."""

from typing import Literal

from msgspec.structs import replace

from bus import jobs
from bus.fleet import Fleet, card_of
from proto.dialects import ollama
from proto.dialects.asked import Answered, Asked, invalid
from proto.dialects.ollama_answer import (
    ChatEvents,
    GenerateEvents,
    chat_answer,
    generate_answer,
    loaded_answer,
)
from proto.errors import Code, MeshError
from proto.ids import ModelId, RequestId
from proto.jobs import Load, Unload
from proto.placement import Schedule
from proto.presence import ModelCard
from proto.prompt import Chat
from proto.telemetry import Dialect
from services.gateway.admin.carrying import end_of, expect_done
from services.gateway.answering.wire import About, Events
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_json, generate
from services.gateway.http.exchange import Exchange, Headers

LINES: Headers = [
    (b"content-type", b"application/x-ndjson"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Ollama:
    """What both endpoints share; one for each request, since answers repeat the model's name."""

    dialect: Dialect = "ollama"
    endpoint: str
    stream_headers = LINES

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._name = ""

    def _resolved(self, asked: Asked) -> Asked:
        """Raises MeshError when the model cannot do what it is asked for."""
        self._name = asked.model
        model = resolve(self._gateway, self._exchange, asked.model)
        card = _own_card(self._gateway.fleet, model)
        if card is not None:
            _expect_able(card, asked, self.endpoint.rpartition("/")[2])
        return replace(asked, model=model, called=asked.model)

    def refusal(self, error: MeshError, request: RequestId) -> bytes:
        return ollama.envelope(error)


class ChatLines(Ollama):
    endpoint = "/api/chat"

    def asked(self, body: bytes) -> Asked:
        return self._resolved(ollama.asked_chat(body))

    def events(self, asked: Asked, about: About) -> Events:
        return ChatEvents(self._name)

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes:
        return chat_answer(self._name, answers[0])


class GenerateLines(Ollama):
    endpoint = "/api/generate"

    def asked(self, body: bytes) -> Asked:
        return self._resolved(ollama.asked_generate(body))

    def events(self, asked: Asked, about: About) -> Events:
        return GenerateEvents(self._name)

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes:
        return generate_answer(self._name, answers[0])


async def chat(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/chat. Raises MeshError, ClientLeft."""
    if not await _answered_empty(gateway, exchange, is_chat=True):
        await generate(ChatLines(gateway, exchange), gateway, exchange)


async def complete(gateway: Gateway, exchange: Exchange) -> None:
    """POST /api/generate. Raises MeshError, ClientLeft."""
    if not await _answered_empty(gateway, exchange, is_chat=False):
        await generate(GenerateLines(gateway, exchange), gateway, exchange)


async def _answered_empty(gateway: Gateway, exchange: Exchange, is_chat: bool) -> bool:
    """Whether it was a request without words, by which clients load a model or unload it.

    It is loaded when that is answered. It stays loaded as long as the mesh wants it.
    """
    empty = ollama.empty(await exchange.body(gateway.settings.body_limit_bytes))
    if empty is None:
        return False
    expect_json(exchange)
    model = resolve(gateway, exchange, empty.model)
    if _is_elsewhere(gateway, model):
        await _pass_on(gateway, exchange, model, is_loaded=not empty.unloads)
    elif not empty.unloads:
        async with exchange:
            await gateway.mesh.candidates(Schedule(model=model), gateway.mesh.wait(exchange.id))
    reason: Literal["load", "unload"] = "unload" if empty.unloads else "load"
    await exchange.reply(200, loaded_answer(empty.model, reason, is_chat))
    return True


def _is_elsewhere(gateway: Gateway, model: ModelId) -> bool:
    """With an engine that is not ours."""
    return any(beat.upstream is not None for beat in gateway.fleet.holders(model))


async def _pass_on(
    gateway: Gateway, exchange: Exchange, model: ModelId, *, is_loaded: bool
) -> None:
    """Loading it is what any request would do; others may need it, so unloading takes a right.

    Raises MeshError.
    """
    if not is_loaded and not gateway.entrance.may_administer(exchange):
        return
    order: Load | Unload = Load(model=model) if is_loaded else Unload(model=model)
    async with exchange:
        bus = gateway.mesh.bus
        job = await jobs.submit(bus, order, gateway.entrance.actor(exchange))
        expect_done(job if job.is_over else await end_of(bus, job.id))


def resolve(gateway: Gateway, exchange: Exchange, name: str) -> ModelId:
    """The model's name without the tag that clients of this dialect add. Raises MeshError."""
    short = name.removesuffix(":latest")
    engines = gateway.fleet.engines()
    for called in (name, short):
        known = gateway.target(called)
        if any(card_of(engine, known) for engine in engines) or gateway.shelf.find(known):
            return gateway.model_for(exchange, called, name)
    model = gateway.model_for(exchange, short, name)
    if not engines:
        # It may be on its way; whoever asks for it will wait a while, or say that there is none.
        return model
    raise MeshError(
        Code.MODEL_NOT_FOUND,
        f"model '{name}' not found; GET /api/tags lists what there is",
        param="model",
    )


def _own_card(fleet: Fleet, model: str) -> ModelCard | None:
    """Of an engine of ours; what an upstream's model can do is not known."""
    cards = (card_of(engine, model) for engine in fleet.engines() if engine.upstream is None)
    return next(filter(None, cards), None)


def _expect_able(card: ModelCard, asked: Asked, what: str) -> None:
    """In the vendor's words, which some clients read to try again without what cannot be had."""
    name, prompt = asked.model, asked.prompts[0]
    if card.kind in ("embedder", "reranker"):
        raise invalid(f'"{name}" does not support {what}', "model")
    if asked.format is not None and not card.keeps_formats:
        raise invalid(f'"{name}" does not support structured outputs', "format")
    if not isinstance(prompt, Chat):
        return
    if prompt.tools and not card.calls_tools:
        raise invalid(f'"{name}" does not support tools', "tools")
    if prompt.thinking.enabled and not card.reasons:
        raise invalid(f'"{name}" does not support thinking', "think")
