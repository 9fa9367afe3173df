"""The cloud service's loop: each upstream is an engine like any other on the bus."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

from bus.gateways import Gateways
from bus.holding import Holding
from bus.presence import LOOK_S, beat, farewell
from bus.sink import TokenSink, answer_replays, digest_of
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.errors import Code, MeshError
from proto.frames import AnyFrame
from proto.ids import CLOUD, EngineId, GatewayId, ModelId, RequestId
from proto.inference import Accepted, Cancel, CountTokens, Detokenize, Generate, Tokenize
from proto.presence import EngineBeat, Gone
from proto.subjects import (
    CANCEL,
    COUNT_TOKENS,
    DETOKENIZE,
    EMBED,
    ENGINE_BEAT,
    ENGINE_TELEMETRY,
    GENERATE,
    RERANK,
    TOKENIZE,
)
from services.cloud.catalog import Catalog
from services.cloud.frames import Frames
from services.cloud.openai import OpenAIUpstream, unreadable
from services.cloud.openai_pieces import Piece
from services.cloud.openai_vectors import embedded, embeddings_body, rerank_body, reranked
from services.cloud.pictures import inlined
from services.cloud.running import Running
from services.cloud.settings import Upstream, read
from services.host import Host, present

log = logging.getLogger(__name__)

A = TypeVar("A")

SLOTS = 256
"""Requests an upstream is sent at once."""
DRAIN_S = 7.0
"""How long running requests may go on when the process is asked to end."""


async def serve(host: Host) -> None:
    async with asyncio.TaskGroup() as tasks:
        presence = tasks.create_task(present(host))
        upstreams = read()
        known = asyncio.Barrier(len(upstreams) + 1)
        standing = [
            tasks.create_task(_stand_in(host, upstream, known.wait)) for upstream in upstreams
        ]
        await host.unless_stopped(known.wait())
        host.ready()
        await host.stopping.wait()
        await asyncio.gather(*standing)
        presence.cancel()


async def _stand_in(
    host: Host, upstream: Upstream, known: Callable[[], Coroutine[None, None, object]]
) -> None:
    """Until the process is asked to end. ``known`` is awaited when others know its models."""
    engine = EngineId(f"{CLOUD}.{upstream.name}-{host.id}")
    async with TokenSink.connect(host.bus.url, engine) as sink:
        relay = Relay(host, upstream, engine, sink)
        try:
            async with asyncio.TaskGroup() as tasks:
                living = [tasks.create_task(relay.serve()), tasks.create_task(relay.told(known))]
                await host.stopping.wait()
                await relay.drain()
                for task in living:
                    task.cancel()
        finally:
            await relay.close()
            await farewell(host.bus, Gone(kind="engine", id=engine, boot=host.boot, why="stopped"))


class Relay:
    """Stands for one upstream: its catalog, its running requests."""

    def __init__(self, host: Host, upstream: Upstream, engine: EngineId, sink: TokenSink) -> None:
        self._host = host
        self._upstream = upstream
        self._engine = engine
        self._sink = sink
        self._client = OpenAIUpstream(upstream)
        self._catalog = Catalog(upstream.name, self._client)
        self._may_read: dict[RequestId, asyncio.Event] = {}
        """Cleared while the request's client does not read."""
        self._running: dict[RequestId, Running] = {}
        self._gateways = Gateways(
            host.bus,
            lambda: (running.gateway for running in self._running.values() if running.gateway),
            self._release,
        )
        self._events = 0
        self._is_leaving = False

    async def serve(self) -> None:
        bus = self._host.bus
        await bus.answer(GENERATE, self._generate, self._engine)
        await bus.answer(EMBED, self._embed, self._engine)
        await bus.answer(RERANK, self._rerank, self._engine)
        await bus.answer(COUNT_TOKENS, self._refuse_tokens, self._engine)
        await bus.answer(TOKENIZE, self._refuse_tokens, self._engine)
        await bus.answer(DETOKENIZE, self._refuse_tokens, self._engine)
        await bus.listen(CANCEL, self._cancel, self._engine)
        await answer_replays(bus, self._sink, self._engine)
        await Holding(self._sink, self._hold, self._go_on).follow(bus, self._engine)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._catalog.keep())
            tasks.create_task(self._gateways.watch())
            tasks.create_task(
                beat(bus, self._engine, (ENGINE_BEAT, ENGINE_TELEMETRY), self._describe, _urgent)
            )

    async def told(self, known: Callable[[], Coroutine[None, None, object]]) -> None:
        """Once the first catalog is there, or none is, and a heartbeat has told of it."""
        await self._catalog.has_looked.wait()
        await asyncio.sleep(2 * LOOK_S)
        await known()

    async def drain(self) -> None:
        """Take nothing new, and end what has not ended by itself when the time is over."""
        self._is_leaving = True
        running = [running.task for running in self._running.values()]
        await self._host.grace(running, DRAIN_S)
        for request in self._running:
            self._end(request, MeshError(Code.ENGINE_LOST, "The cloud service is stopping."))

    def _end(self, request: RequestId, why: MeshError) -> None:
        running = self._running[request]
        running.why = why
        running.task.cancel()

    async def close(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sink.settled()
        await self._client.close()

    def _describe(self) -> EngineBeat:
        return EngineBeat(
            engine=self._engine,
            node=CLOUD,
            boot=self._host.boot,
            pid=os.getpid(),
            state="draining" if self._is_leaving else "ready" if self._catalog.cards else "loading",
            models=self._catalog.cards,
            slots=SLOTS,
            running=len(self._running),
            parked=sum(not event.is_set() for event in self._may_read.values()),
            steps=self._events,
            upstream=self._upstream.url,
        )

    async def _refuse_tokens(self, question: CountTokens | Tokenize | Detokenize) -> NoReturn:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            f"{question.model} runs upstream, which does not tell tokens without generating.",
            param="model",
        )

    async def _generate(self, request: Generate) -> Accepted:
        await self._end_before(request)
        if self._sink.knows(request.request, request.epoch):
            self._sink.resend(request)
            if (running := self._running.get(request.request)) is not None:
                running.gateway = request.gateway
            return Accepted(prompt_tokens=0)
        if request.continues is not None:
            raise MeshError(
                Code.NO_ENGINE, f"{self._upstream.name} cannot go on with another engine's answer."
            )
        self._refuse_if_full()
        self._sink.open(request.request, request.gateway, request.epoch, digest_of(request))
        task = asyncio.create_task(self._run(request))
        self._running[request.request] = Running(request.gateway, task)
        self._gateways.hear(request.gateway)
        task.add_done_callback(lambda _: self._running.pop(request.request, None))
        return Accepted(prompt_tokens=0)

    async def _end_before(self, request: Generate) -> None:
        """What runs of an earlier attempt."""
        running = self._running.get(request.request)
        if running is not None and not self._sink.knows(request.request, request.epoch):
            running.task.cancel()
            await asyncio.wait({running.task})

    def _refuse_if_full(self) -> None:
        if self._is_leaving:
            raise MeshError(Code.NO_ENGINE, "This engine takes no requests.", retry_after_s=1.0)
        if len(self._running) >= SLOTS:
            raise MeshError(
                Code.QUEUE_FULL,
                f"{SLOTS} requests run on {self._upstream.name} already.",
                retry_after_s=1.0,
            )

    async def _embed(self, asked: Embed) -> Embedded:
        body = embeddings_body(asked, _upstream_s(asked.model))
        return await self._ask(asked, "/embeddings", body, embedded)

    async def _rerank(self, asked: Rerank) -> Reranked:
        body = rerank_body(asked, _upstream_s(asked.model))
        return await self._ask(asked, "/rerank", body, reranked)

    async def _ask(
        self, asked: Embed | Rerank, path: str, body: dict[str, Any], read: Callable[[Any], A]
    ) -> A:
        """Raises MeshError; CancelledError when the asker withdraws."""
        self._refuse_if_full()
        task = asyncio.current_task()
        assert task is not None, "the bus answers each question in a task"
        self._running[asked.request] = Running(asked.gateway, task)
        self._gateways.hear(asked.gateway)
        try:
            async with asyncio.timeout(asked.left_s):
                answer = await self._client.ask(path, body)
            self._events += 1
            return read(answer)
        except TimeoutError as error:
            raise MeshError(Code.DEADLINE, "The deadline of the request passed.") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(self._upstream.name, error) from error
        finally:
            self._running.pop(asked.request, None)

    def _cancel(self, cancel: Cancel) -> None:
        running = self._running.get(cancel.request)
        is_past = cancel.epoch is not None and self._sink.knows(cancel.request, cancel.epoch + 1)
        if running is not None and not is_past:
            running.task.cancel()

    def _release(self, gateway: GatewayId) -> None:
        """Nobody reads there any more, and the upstream counts every token."""
        for request, running in self._running.items():
            if running.gateway == gateway:
                log.info("ending %s: its gateway is gone", request)
                self._end(request, MeshError(Code.ENGINE_LOST, "Its gateway was heard no more."))

    def _hold(self, request: RequestId) -> None:
        if request in self._may_read:
            self._may_read[request].clear()

    def _go_on(self, request: RequestId) -> None:
        if request in self._may_read:
            self._may_read[request].set()

    async def _run(self, request: Generate) -> None:
        frames = Frames(request)
        may_read = self._may_read[request.request] = asyncio.Event()
        may_read.set()
        try:
            async with asyncio.timeout(request.left_s), aclosing(self._pieces(request)) as pieces:
                self._send(request, frames.began())
                async for piece in pieces:
                    self._events += 1
                    for frame in frames.of(piece):
                        self._send(request, frame)
                    await may_read.wait()
                self._send(request, frames.ended())
        except MeshError as error:
            self._send(request, frames.failed(error))
        except TimeoutError:
            late = MeshError(Code.DEADLINE, "The deadline of the request passed.")
            self._send(request, frames.failed(late))
        except asyncio.CancelledError:
            self._send(request, frames.failed(self._running[request.request].why))
            raise
        finally:
            del self._may_read[request.request]

    async def _pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        asked = await inlined(self._host.bus, request)
        async with aclosing(self._client.generate(asked)) as pieces:
            async for piece in pieces:
                yield piece

    def _send(self, request: Generate, frame: AnyFrame) -> None:
        self._sink.send([(request.request, frame)])


def _upstream_s(model: ModelId) -> str:
    """What the upstream itself calls the model."""
    return model.partition(":")[2]


def _urgent(state: EngineBeat) -> object:
    return state.state, state.models
