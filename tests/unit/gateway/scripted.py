"""An engine that answers by a script, and a gateway in front of it: for timing-exact tests."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.connection import Bus
from bus.holding import Holding
from bus.presence import farewell
from bus.sink import TokenSink, answer_replays
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Delta, End, Progress, Timings, Usage
from proto.generation import Accepted, Cancel, FinishReason, Generate
from proto.ids import EngineId, ModelId, NodeId, RequestId, fresh
from proto.placement import Schedule, Scheduled
from proto.presence import EngineBeat, Gone, ModelCard
from proto.prompt import Chat, Text
from proto.subjects import (
    CANCEL,
    COUNT_TOKENS,
    DETOKENIZE,
    EMBED,
    ENGINE_BEAT,
    GENERATE,
    RERANK,
    SCHEDULE,
    TOKENIZE,
)
from proto.tokenization import Counted, CountTokens, Detokenize, Detokenized, Tokenize, Tokenized
from services.gateway import service
from services.host import Host

MODEL = ModelId("org/tiny-1.0")
ALIAS = ModelId("tiny")

SURROGATES = 0xD800
"""Characters from here on are not used as tokens."""

Script = Callable[["ScriptedEngine", Generate], Awaitable[None]]


def deltas(epoch: int, *pieces: str, start: int = 1) -> list[AnyFrame]:
    return [Delta(epoch, start + i, piece, (i,)) for i, piece in enumerate(pieces)]


def end(
    epoch: int, seq: int, tokens: int = 2, reason: FinishReason = "stop", stop: str | None = None
) -> End:
    return End(epoch, seq, reason, Usage(10, tokens, 4), Timings(0.0, 0.1, 0.2), stop)


async def hello(engine: "ScriptedEngine", asked: Generate) -> None:
    """Progress, ``Hello``, `` world``, the end."""
    epoch = asked.epoch
    engine.send(asked, Progress(epoch, 0, 10, 10, 4))
    engine.send(asked, *deltas(epoch, "Hello", " world"))
    engine.send(asked, end(epoch, 3))


async def silence(engine: "ScriptedEngine", asked: Generate) -> None:
    """Accepted, and nothing more."""


def all_alike(question: Embed) -> tuple[bytes, ...]:
    return tuple(struct.pack("<2f", 0.6, 0.8) for _ in question.inputs)


@dataclass
class ScriptedEngine:
    bus: Bus
    sink: TokenSink
    id: EngineId
    script: Script = hello
    refusal: MeshError | None = None
    before_accepting: Callable[[], Awaitable[None]] | None = None
    slots: int = 4
    place: int = 0
    """In its queue, of whatever it accepts."""
    boot: str = field(default_factory=fresh)
    asked: list[Generate] = field(default_factory=list)
    read: list[Tokenize] = field(default_factory=list)
    embedded: list[Embed] = field(default_factory=list)
    vectors_of: Callable[[Embed], tuple[bytes, ...]] = all_alike
    ranked: list[Rerank] = field(default_factory=list)
    can: dict[str, Any] = field(default_factory=dict)
    """Fields of its model's card."""
    about: dict[str, Any] = field(default_factory=dict)
    """Fields of its heartbeat."""
    counted: list[CountTokens] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Queue[RequestId] = field(default_factory=asyncio.Queue)
    held: set[RequestId] = field(default_factory=set)
    """By the gateway, as their clients do not read."""

    def send(self, asked: Generate, *frames: AnyFrame) -> None:
        self.sink.send((asked.request, frame) for frame in frames)

    def beat(self, **changes: object) -> EngineBeat:
        known = {"id": MODEL, "aliases": (ALIAS,), "context_length": 2048}
        known["created_s"] = 1_700_000_000
        card = ModelCard(**(known | self.can))
        state: dict[str, object] = {
            "engine": self.id,
            "node": NodeId("n1"),
            "boot": self.boot,
            "pid": os.getpid(),
            "state": "ready",
            "models": (card,),
            "slots": self.slots,
            "queue_limit": 8,
        }
        return EngineBeat(**(state | self.about | changes))  # type: ignore[arg-type]

    async def say(self, **changes: object) -> None:
        beat = self.beat(**changes)
        await self.bus.publish(ENGINE_BEAT, beat, beat.engine)
        await self.bus.settled()

    async def die(self) -> None:
        await farewell(self.bus, Gone(kind="engine", id=self.id, boot=self.boot))

    async def _generate(self, asked: Generate) -> Accepted:
        self.asked.append(asked)
        self.was_asked.set()
        if self.refusal is not None:
            raise self.refusal
        if self.before_accepting is not None:
            await self.before_accepting()
        self.sink.open(asked.request, asked.gateway)
        asyncio.get_running_loop().call_soon(
            lambda: self._running.append(asyncio.ensure_future(self.script(self, asked)))
        )
        return Accepted(prompt_tokens=10, place=self.place)

    async def _count(self, question: CountTokens) -> Counted:
        self.counted.append(question)
        return Counted(tokens=7)

    async def _tokenize(self, question: Tokenize) -> Tokenized:
        """A token for each character, and one before them."""
        self.read.append(question)
        assert isinstance(question.prompt, Text | Chat)
        prompt = question.prompt
        text = prompt.text if isinstance(prompt, Text) else prompt.turns[-1].text
        said = ("\x01" if question.with_specials else "") + text
        return Tokenized(tokens=tuple(map(ord, said)), pieces=tuple(c.encode() for c in said))

    async def _detokenize(self, question: Detokenize) -> Detokenized:
        if any(not 0 <= token < SURROGATES for token in question.tokens):
            raise MeshError(Code.INVALID_REQUEST, "There is no such token.", param="tokens")
        return Detokenized(text="".join(map(chr, question.tokens)))

    async def _embed(self, question: Embed) -> Embedded:
        """Vectors of two numbers."""
        self.embedded.append(question)
        self.was_asked.set()
        if self.refusal is not None:
            raise self.refusal
        if self.before_accepting is not None:
            await self.before_accepting()
        vectors = self.vectors_of(question)
        return Embedded(vectors=vectors, tokens=3 * len(vectors))

    async def _rerank(self, question: Rerank) -> Reranked:
        """The longer a document, the better."""
        self.ranked.append(question)
        scores = tuple(len(document) / 100 for document in question.documents)
        return Reranked(scores=scores, tokens=5 * len(scores))

    def _cancel(self, cancel: Cancel) -> None:
        self.cancelled.put_nowait(cancel.request)

    async def _beats(self) -> None:
        while True:
            await self.bus.publish(ENGINE_BEAT, self.beat(), self.id)
            await asyncio.sleep(0.5)

    def __post_init__(self) -> None:
        self._running: list[asyncio.Future[None]] = []

    async def _open(self) -> None:
        await self.bus.answer(GENERATE, self._generate, self.id)
        await self.bus.answer(COUNT_TOKENS, self._count, self.id)
        await self.bus.answer(TOKENIZE, self._tokenize, self.id)
        await self.bus.answer(DETOKENIZE, self._detokenize, self.id)
        await self.bus.answer(EMBED, self._embed, self.id)
        await self.bus.answer(RERANK, self._rerank, self.id)
        await self.bus.listen(CANCEL, self._cancel, self.id)
        await answer_replays(self.bus, self.sink, self.id)
        await Holding(self.sink, self.held.add, self.held.discard).follow(self.bus, self.id)
        await self.bus.settled()


@asynccontextmanager
async def engine(url: str, id: str = "e1", script: Script = hello) -> AsyncIterator[ScriptedEngine]:
    """Its id is made unique, since tests share a bus server."""
    name = EngineId(f"n1.{id}-{fresh()}")
    async with (
        Bus.connect(url, f"engine:{name}") as bus,
        TokenSink.connect(url, name) as sink,
    ):
        scripted = ScriptedEngine(bus, sink, name, script)
        await scripted._open()
        beats = asyncio.create_task(scripted._beats())
        try:
            yield scripted
        finally:
            beats.cancel()
            for running in scripted._running:
                running.cancel()


@dataclass
class ScriptedScheduler:
    """Says the same to every question until it is told otherwise."""

    waits_for: str = ""
    refusal: MeshError | None = None
    questions: asyncio.Queue[Schedule] = field(default_factory=asyncio.Queue)

    async def _schedule(self, question: Schedule) -> Scheduled:
        self.questions.put_nowait(question)
        if self.refusal is not None:
            raise self.refusal
        return Scheduled(waits_for=self.waits_for)


@asynccontextmanager
async def scheduler(url: str, waits_for: str = "loading 40 %") -> AsyncIterator[ScriptedScheduler]:
    """It knows no engine: gateways find those themselves, by their heartbeats."""
    scripted = ScriptedScheduler(waits_for)
    async with Bus.connect(url, f"scheduler:{fresh()}") as bus:
        await bus.answer(SCHEDULE, scripted._schedule, group="scheduler")
        await bus.settled()
        yield scripted


def full() -> MeshError:
    return MeshError(Code.QUEUE_FULL, "full", retry_after_s=3.2)


@asynccontextmanager
async def gateway(url: str, home: Path, port: int = 0) -> AsyncIterator[Host]:
    """A whole gateway in this process, on the port that its heartbeat tells."""
    async with Bus.connect(url, f"gateway:{fresh()}") as bus:
        host = Host(service="gateway", id=fresh(), bus=bus, home=home)
        serving = asyncio.create_task(service.serve(host))
        try:
            yield host
        finally:
            host.stopping.set()
            await serving
