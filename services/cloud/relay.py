"""Stands for one upstream on the bus: its models, its running requests."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, closing
from typing import Any, NoReturn, TypeVar

from bus.connection import Hearing
from bus.gateways import Gateways
from bus.holding import Holding
from bus.presence import LOOK_S, beat
from bus.sink import TokenSink, answer_replays, digest_of
from proto.embedding import Embed, Embedded, Rerank, Reranked
from proto.enrolment import LoadedSet, SetLoaded
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Usage
from proto.generation import Accepted, Cancel, Generate
from proto.ids import CLOUD, EngineId, GatewayId, ModelId, RequestId
from proto.presence import EngineBeat, EngineState
from proto.refusing import not_served
from proto.subjects import (
    CANCEL,
    COUNT_TOKENS,
    DETOKENIZE,
    EMBED,
    ENGINE_BEAT,
    ENGINE_TELEMETRY,
    GENERATE,
    RERANK,
    SET_LOADED,
    TOKENIZE,
)
from proto.tokenization import Counted, CountTokens, Detokenize, Tokenize
from services.cloud import egress
from services.cloud.calling.errand import Errand
from services.cloud.catalog import Catalog, Told
from services.cloud.client import Client, Forwarding
from services.cloud.engines.loading import Loading
from services.cloud.engines.neighbour import Neighbour
from services.cloud.frames import Frames
from services.cloud.leaving import leaves
from services.cloud.line import Line
from services.cloud.naming import upstream_s
from services.cloud.pictures import inlined
from services.cloud.piece import Piece
from services.cloud.providers.access import accepts, refuses
from services.cloud.redaction import redacted
from services.cloud.running import Running
from services.cloud.settings import Upstream
from services.cloud.turns import PLACES, Ticket, Turns
from services.host import HANDOVER_S, Host

log = logging.getLogger(__name__)

A = TypeVar("A", Embedded, Reranked)

DRAIN_S = 7.0
"""How long running requests may go on when the process is asked to end."""


class Relay:
    """``client`` speaks with the upstream, and is closed with this. ``told`` hears of catalogs."""

    def __init__(
        self,
        host: Host,
        upstream: Upstream,
        client: Client,
        engine: EngineId,
        sink: TokenSink,
        told: Told = lambda _upstream, _cards: None,
    ) -> None:
        self._host = host
        self._upstream = upstream
        self._engine = engine
        self._sink = sink
        self._line = Line(client, upstream.keys)
        self.catalog = Catalog(upstream, self._line, told)
        self._hearings: list[Hearing] = []
        self._turns = Turns(upstream.name, upstream.requests)
        self._loading = Loading()
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
        self._hearings += [
            await bus.answer(GENERATE, self._generate, self._engine),
            await bus.answer(EMBED, self._embed, self._engine),
            await bus.answer(RERANK, self._rerank, self._engine),
            await bus.answer(COUNT_TOKENS, self._count, self._engine),
            await bus.answer(TOKENIZE, self._refuse_tokens, self._engine),
            await bus.answer(DETOKENIZE, self._refuse_tokens, self._engine),
            await bus.answer(SET_LOADED, self._set_loaded, self._engine),
            await bus.listen(CANCEL, self._cancel, self._engine),
            await answer_replays(bus, self._sink, self._engine),
            await Holding(self._sink, self._hold, self._go_on).follow(bus, self._engine),
        ]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.catalog.keep())
            tasks.create_task(self._gateways.watch())
            tasks.create_task(
                beat(bus, self._engine, (ENGINE_BEAT, ENGINE_TELEMETRY), self.describe, _urgent)
            )

    async def told(self) -> None:
        """Return once the first catalog is there, or none is, and a heartbeat has told of it."""
        await self.catalog.has_looked.wait()
        await asyncio.sleep(2 * LOOK_S)

    async def change(self, upstream: Upstream, client: Client | None) -> None:
        """``client``: another one is needed to reach it; what runs ends with its own."""
        is_elsewhere = upstream.url != self._upstream.url
        self._upstream = upstream
        if client is not None:
            await self._line.replace(client, upstream.keys)
        self.catalog.change(upstream, is_elsewhere=is_elsewhere)

    async def leave(self) -> None:
        """Take nothing new, and let what runs finish: the operator took its provider away."""
        self._is_leaving = True
        running = [running.task for running in self._running.values()]
        if running:
            await self._host.unless_stopped(asyncio.wait(running, timeout=HANDOVER_S))

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
        self._loading.stop()
        await self._sink.settled()
        await self._line.close()
        for hearing in self._hearings:
            await hearing.stop()

    @property
    def _state(self) -> EngineState:
        if self._is_leaving:
            return "draining"
        takes_others = self._upstream.models is not None and not self.catalog.trouble
        return "ready" if self.catalog.cards or takes_others else "loading"

    def _fit_slots(self) -> None:
        """To the operator's word, and to the engine's own where that is less."""
        client = self._line.client
        told = client.slots if isinstance(client, Neighbour) else None
        most = self._upstream.requests
        self._turns.slots = min(most, told or most)

    def describe(self) -> EngineBeat:
        self._fit_slots()
        client = self._line.client
        breaker = client.breaker
        trouble = breaker.trouble or self.catalog.trouble or self._upstream.locked
        return EngineBeat(
            engine=self._engine,
            node=CLOUD,
            boot=self._host.boot,
            pid=os.getpid(),
            state=self._state,
            models=self.catalog.cards,
            slots=self._turns.slots,
            running=self._turns.running,
            queued=self._turns.waiting,
            queue_limit=PLACES,
            batch_requests=self._turns.batch,
            parked=sum(not event.is_set() for event in self._may_read.values()),
            steps=self._events,
            upstream=self._upstream.url,
            provider=self._upstream.name,
            provider_kind=self._upstream.kind,
            accepts=accepts(self._upstream),
            refuses=refuses(self._upstream),
            trouble=redacted(trouble, self._upstream.keys),
            leaves=leaves(self._upstream.kind, self._upstream.url),
            speaks=client.speaks if isinstance(client, Forwarding) else (),
            circuit=breaker.circuit,
        )

    async def _count(self, question: CountTokens) -> Counted:
        await self._expect(question)
        asked = await inlined(self._host.bus, question)
        run, outcome = egress.begin(question), Code.CANCELLED.word
        try:
            async with self._line.held() as client:
                counted = await client.count(asked)
            outcome = "ok"
        except MeshError as error:
            outcome = error.code.word
            raise
        finally:
            await self._tell_what_left(question, run, Usage(0, 0, 0), outcome)
        return Counted(tokens=counted)

    async def _refuse_tokens(self, question: Tokenize | Detokenize) -> NoReturn:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            f"{question.model} runs upstream, which does not tell tokens without generating.",
            param="model",
        )

    async def _set_loaded(self, asked: SetLoaded) -> LoadedSet:
        model = ModelId(upstream_s(asked.model))
        async with self._line.held() as client:
            if not isinstance(client, Neighbour):
                raise MeshError(
                    Code.UNSUPPORTED_PARAMETER,
                    f"{self._upstream.name} has its models always; none is loaded or unloaded.",
                    param="model",
                )
            return await self._loading.set(client, model, is_loaded=asked.is_loaded)

    async def _generate(self, request: Generate) -> Accepted:
        await self._end_before(request)
        if self._sink.knows(request.request, request.epoch):
            self._sink.resend(request)
            if (running := self._running.get(request.request)) is None:
                return Accepted(prompt_tokens=0)
            running.gateway = request.gateway
            return Accepted(prompt_tokens=0, place=self._turns.place(running.ticket))
        if request.continues is not None:
            raise MeshError(
                Code.NO_ENGINE, f"{self._upstream.name} cannot go on with another engine's answer."
            )
        await self._expect(request)
        ticket = self._take(request)
        self._sink.open(request.request, request.gateway, request.epoch, digest_of(request))
        task = asyncio.create_task(self._run(request, ticket))
        self._running[request.request] = Running(request.gateway, task, ticket)
        self._gateways.hear(request.gateway)
        task.add_done_callback(lambda _: self._over(request.request, ticket))
        return Accepted(prompt_tokens=0, place=self._turns.place(ticket))

    def _over(self, request: RequestId, ticket: Ticket) -> None:
        self._running.pop(request, None)
        self._turns.leave(ticket)

    async def _end_before(self, request: Generate) -> None:
        """What runs of an earlier attempt."""
        running = self._running.get(request.request)
        if running is not None and not self._sink.knows(request.request, request.epoch):
            running.task.cancel()
            await asyncio.wait({running.task})

    async def _expect(self, asked: egress.Asked) -> None:
        """Whoever asks may not have heard yet of what it may be asked for, and whether at all."""
        if not self.catalog.takes(upstream_s(asked.model)):
            raise not_served(self.describe(), asked.model)
        egress.expect_may_leave(asked, self._upstream)
        async with self._line.held() as client:
            client.breaker.expect()

    def _take(self, asked: Generate | Embed | Rerank) -> Ticket:
        """Raises MeshError."""
        if self._is_leaving:
            raise MeshError(Code.NO_ENGINE, "This engine takes no requests.", retry_after_s=1.0)
        self._fit_slots()
        return self._turns.take(asked.key, asked.weight, asked.priority)

    async def _embed(self, asked: Embed) -> Embedded:
        async def answer() -> Embedded:
            async with self._line.held() as client:
                return await client.embed(asked)

        return await self._ask(asked, answer())

    async def _rerank(self, asked: Rerank) -> Reranked:
        async def answer() -> Reranked:
            async with self._line.held() as client:
                return await client.rerank(asked)

        return await self._ask(asked, answer())

    async def _ask(self, asked: Embed | Rerank, answer: Coroutine[Any, Any, A]) -> A:
        """Raises MeshError; CancelledError when the asker withdraws."""
        with closing(answer):
            await self._expect(asked)
            ticket = self._take(asked)
            task = asyncio.current_task()
            assert task is not None, "the bus answers each question in a task"
            self._running[asked.request] = Running(asked.gateway, task, ticket)
            self._gateways.hear(asked.gateway)
            run = egress.begin(asked)
            usage, outcome = Usage(0, 0, 0), Code.CANCELLED.word
            try:
                async with asyncio.timeout(asked.left_s):
                    await ticket.called.wait()
                    answered = await answer
                usage, outcome = Usage(answered.tokens, 0, 0), "ok"
            except TimeoutError as error:
                outcome = Code.DEADLINE.word
                raise MeshError(Code.DEADLINE, "The deadline of the request passed.") from error
            except MeshError as error:
                outcome = error.code.word
                raise
            finally:
                self._over(asked.request, ticket)
                await self._tell_what_left(asked, run, usage, outcome)
            self._events += 1
            return answered

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

    async def _run(self, request: Generate, ticket: Ticket) -> None:
        frames = Frames(request)
        run = egress.begin(request)
        may_read = self._may_read[request.request] = asyncio.Event()
        may_read.set()
        try:
            async with asyncio.timeout(request.left_s), aclosing(self._pieces(request)) as pieces:
                await ticket.called.wait()
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
            await self._tell_what_left(request, run, frames.usage, frames.outcome)

    async def _tell_what_left(
        self, asked: egress.Asked, run: Errand, usage: Usage, outcome: str
    ) -> None:
        await egress.tell(self._host.bus, self._engine, self._upstream, asked, run, usage, outcome)

    async def _pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        asked = await inlined(self._host.bus, request)
        async with self._line.held() as client, aclosing(_answer(client, asked)) as pieces:
            async for piece in pieces:
                yield piece

    def _send(self, request: Generate, frame: AnyFrame) -> None:
        self._sink.send([(request.request, frame)])


def _answer(client: Client, asked: Generate) -> AsyncGenerator[Piece, None]:
    """Raises MeshError."""
    if asked.verbatim is None:
        return client.generate(asked)
    if not isinstance(client, Forwarding) or asked.verbatim.endpoint not in client.speaks:
        # Whoever asked has heard of the client before this one.
        raise MeshError(Code.NO_ENGINE, "The upstream has changed; try again.", retry_after_s=1.0)
    return client.forward(asked)


def _urgent(state: EngineBeat) -> object:
    told = (state.models, state.accepts, state.refuses)
    return state.state, told, state.circuit, state.trouble
