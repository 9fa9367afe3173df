"""Stands for one upstream on the bus: what it is, and who answers what it is asked."""

import asyncio
import os

from bus.connection import Hearing
from bus.holding import Holding
from bus.presence import LOOK_S, beat
from bus.sink import TokenSink, answer_replays
from proto.ids import CLOUD, EngineId
from proto.presence import EngineBeat, EngineState
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
from services.cloud.admission import Admission
from services.cloud.answering import Answering
from services.cloud.catalog import Catalog, Told
from services.cloud.client import Client, Forwarding
from services.cloud.egress import Egress
from services.cloud.engines.neighbour import Neighbour
from services.cloud.leaving import leaves
from services.cloud.line import Line
from services.cloud.providers.access import accepts, refuses
from services.cloud.questions import Questions
from services.cloud.redaction import redacted
from services.cloud.settings import Upstream
from services.cloud.turns import PLACES
from services.cloud.work import Work
from services.host import Host


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
        self._engine = engine
        self._sink = sink
        self._line = line = Line(client, upstream.keys)
        self._egress = egress = Egress(host.bus, engine, upstream)
        self.catalog = Catalog(upstream, line, told)
        self._work = work = Work(host, upstream.name, self._slots)
        admission = Admission(self.catalog, egress, line, self.describe)
        self._answering = Answering(host.bus, sink, line, work, admission, egress)
        self._questions = Questions(host.bus, line, work, admission, egress)
        self._hearings: list[Hearing] = []

    async def serve(self) -> None:
        bus, engine = self._host.bus, self._engine
        answering, questions = self._answering, self._questions
        self._hearings += [
            await bus.answer(GENERATE, answering.generate, engine),
            await bus.answer(EMBED, questions.embed, engine),
            await bus.answer(RERANK, questions.rerank, engine),
            await bus.answer(COUNT_TOKENS, questions.count, engine),
            await bus.answer(TOKENIZE, questions.refuse_tokens, engine),
            await bus.answer(DETOKENIZE, questions.refuse_tokens, engine),
            await bus.answer(SET_LOADED, questions.set_loaded, engine),
            await bus.listen(CANCEL, answering.cancel, engine),
            await answer_replays(bus, self._sink, engine),
            await Holding(self._sink, answering.hold, answering.go_on).follow(bus, engine),
        ]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.catalog.keep())
            tasks.create_task(self._work.watch())
            tasks.create_task(
                beat(bus, engine, (ENGINE_BEAT, ENGINE_TELEMETRY), self.describe, _urgent)
            )

    async def told(self) -> None:
        """Return once the first catalog is there, or none is, and a heartbeat has told of it."""
        await self.catalog.has_looked.wait()
        await asyncio.sleep(2 * LOOK_S)

    async def change(self, upstream: Upstream, client: Client | None) -> None:
        """``client``: another one is needed to reach it; what runs ends with its own."""
        is_elsewhere = upstream.url != self._egress.upstream.url
        self._egress.upstream = upstream
        if client is not None:
            await self._line.replace(client, upstream.keys)
        self.catalog.change(upstream, is_elsewhere=is_elsewhere)

    async def leave(self) -> None:
        """Take nothing new, and let what runs finish: the operator took its provider away."""
        await self._work.leave()

    async def drain(self) -> None:
        """Take nothing new, and end what has not ended by itself when the time is over."""
        await self._work.drain()

    async def close(self) -> None:
        await self._work.close()
        self._questions.stop()
        await self._sink.settled()
        await self._line.close()
        for hearing in self._hearings:
            await hearing.stop()

    def _slots(self) -> int:
        """By the operator's word, and the engine's own where that is less."""
        client, most = self._line.client, self._egress.upstream.requests
        told = client.slots if isinstance(client, Neighbour) else None
        return min(most, told or most)

    @property
    def _state(self) -> EngineState:
        if self._work.is_leaving:
            return "draining"
        takes_others = self._egress.upstream.models is not None and not self.catalog.trouble
        return "ready" if self.catalog.cards or takes_others else "loading"

    def describe(self) -> EngineBeat:
        client, upstream, turns = self._line.client, self._egress.upstream, self._work.turns
        breaker = client.breaker
        trouble = breaker.trouble or self.catalog.trouble or upstream.locked
        return EngineBeat(
            engine=self._engine,
            node=CLOUD,
            boot=self._host.boot,
            pid=os.getpid(),
            state=self._state,
            models=self.catalog.cards,
            slots=turns.slots,
            running=turns.running,
            queued=turns.waiting,
            queue_limit=PLACES,
            batch_requests=turns.batch,
            parked=self._answering.parked,
            steps=self._work.events,
            upstream=upstream.url,
            provider=upstream.name,
            provider_kind=upstream.kind,
            accepts=accepts(upstream),
            refuses=refuses(upstream),
            trouble=redacted(trouble, upstream.keys),
            leaves=leaves(upstream.kind, upstream.url),
            speaks=client.speaks if isinstance(client, Forwarding) else (),
            circuit=breaker.circuit,
        )


def _urgent(state: EngineBeat) -> object:
    told = (state.models, state.accepts, state.refuses)
    return state.state, told, state.circuit, state.trouble
