"""The engine on the bus: takes requests, hands them to the model's thread, sends its frames.

This is the asyncio side; nothing here touches an array.
"""

import asyncio
import dataclasses
import logging
import os
import sys
import time
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
import psutil

from bus import tracing
from bus.presence import beat, farewell
from bus.stream import TokenSink, answer_replays
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, End, Failed
from proto.ids import GatewayId, RequestId
from proto.inference import Accepted, Cancel, Counted, CountTokens, Generate, Prompt
from proto.prefix import prefix_hashes
from proto.presence import (
    HEARTBEAT_S,
    SILENCE_S,
    STALL_S,
    EngineBeat,
    EngineState,
    GatewayBeat,
    Gone,
    NodeBeat,
)
from proto.subjects import (
    CANCEL,
    COUNT_TOKENS,
    DETOKENIZE,
    ENGINE_BEAT,
    ENGINE_TELEMETRY,
    GATEWAY_BEAT,
    GENERATE,
    GONE,
    NODE_BEAT,
    TOKENIZE,
)
from services.host import Host
from services.runner.engine.aliases import with_aliases
from services.runner.engine.loading import LoadedModel, NotLoadable, id_of
from services.runner.engine.loop import ModelThread
from services.runner.engine.reception import Reception
from services.runner.engine.settings import Settings, read
from services.runner.engine.vision.album import Album

log = logging.getLogger(__name__)

DRAIN_S = 4.0
"""How long running answers may go on after the engine was asked to stop."""
ORPHAN_S = 30.0
"""Without an agent for this long, an engine belongs to nobody and ends."""
SERVED_PREFIXES = 256
WATCH_S = 0.5
GATEWAY_SILENCE_S = SILENCE_S + 1.0
"""Cancelling costs a client its answer, so a gateway is given one heartbeat more."""
LEARNING = 0.1
TELLING = 8
"""Tokens of an answer whose speed is worth remembering."""


class _Open(NamedTuple):
    """A request that has not ended."""

    gateway: GatewayId
    accepted: Accepted
    trace: tracing.TraceContext | None


async def serve(host: Host) -> None:
    """Load the model, then serve it until asked to stop."""
    settings = read()
    async with TokenSink.connect(host.bus.url, settings.engine) as sink:
        engine = Engine(host, settings, sink)
        async with asyncio.TaskGroup() as tasks:
            living = [tasks.create_task(engine.present()), tasks.create_task(engine.watch())]
            if await engine.load():
                await engine.answer()
                living.append(tasks.create_task(engine.prepare()))
                await host.stopping.wait()
                await engine.drain()
            for task in living:
                task.cancel()
        engine.thread.stop()
    if engine.trouble is not None:
        log.error("%s", engine.trouble)
        sys.exit(os.EX_DATAERR)


class Engine:
    """One loaded model as the mesh sees it: what it holds, takes, refuses and says."""

    def __init__(self, host: Host, settings: Settings, sink: TokenSink) -> None:
        self._host = host
        self._settings = settings
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self.thread = ModelThread(
            settings.source,
            host.home,
            self._hand_over,
            slots=settings.slots,
            cache_bytes=settings.cache_bytes,
            trusts_code=settings.trusts_code,
        )
        self.trouble: NotLoadable | None = None
        self._state: EngineState = "loading"
        self._open: dict[RequestId, _Open] = {}
        self._heard: dict[GatewayId, float] = {}
        self._agent_heard = time.monotonic()
        self._served: OrderedDict[bytes, None] = OrderedDict()
        self._request_s = 1.0
        self._counted = (time.monotonic(), 0)
        self._tokens_per_s = 0.0
        self._answer_tokens_per_s = 0.0
        self._process = psutil.Process()

    async def load(self) -> bool:
        """False when the model cannot be loaded, or the engine was asked to stop meanwhile."""
        loading = asyncio.wrap_future(self.thread.start())
        stopping = asyncio.ensure_future(self._host.stopping.wait())
        either: set[asyncio.Future[Any]] = {loading, stopping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            return False
        try:
            self._loaded = self._named(loading.result())
        except NotLoadable as trouble:
            self.trouble = trouble
            return False
        self._card = self._loaded.card
        eyes = self._loaded.eyes
        album = None if eyes is None else Album(self._host.bus, eyes)
        self._reception = Reception(self._loaded, album)
        log.info("serving %s", self._card)
        return True

    def _named(self, loaded: LoadedModel) -> LoadedModel:
        settings = self._settings
        card = with_aliases(loaded.card, settings.source, settings.aliases)
        return dataclasses.replace(loaded, card=card)

    async def prepare(self) -> None:
        """Once it serves: what the first request for a format would wait for."""
        if self._card.keeps_formats and not await self._reception.prepare():
            self._card = msgspec.structs.replace(self._card, keeps_formats=False)

    async def answer(self) -> None:
        bus, engine = self._host.bus, self._settings.engine
        await bus.answer(GENERATE, self._generate, engine)
        await bus.answer(COUNT_TOKENS, self._count, engine)
        await bus.answer(TOKENIZE, self._reception.tokenize, engine)
        await bus.answer(DETOKENIZE, self._reception.detokenize, engine)
        await bus.listen(CANCEL, self._cancel, engine)
        await answer_replays(bus, self._sink, engine)
        await bus.settled()
        self._state = "ready"

    async def drain(self) -> None:
        """Take nothing new, let running answers finish for a while, then end them."""
        self._state = "draining"
        end = time.monotonic() + DRAIN_S
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for request in list(self._open):
            self.thread.cancel(request)
        while self._open and time.monotonic() < end + 0.5:
            await asyncio.sleep(0.02)
        settings = self._settings
        gone = Gone(kind="engine", id=settings.engine, boot=settings.boot, why="stopped")
        await farewell(self._host.bus, gone)
        await self._host.bus.settled()

    # Requests

    async def _generate(self, asked: Generate) -> Accepted:
        known = self._open.get(asked.request)
        if known is not None or self._sink.knows(asked.request):
            return self._again(asked, known.accepted if known else None)
        self._refuse_if_full()
        sequence = await self._reception.receive(asked)
        if (known := self._open.get(asked.request)) is not None:  # It came again meanwhile.
            return self._again(asked, known.accepted)
        self._refuse_if_full()
        accepted = Accepted(
            prompt_tokens=len(sequence.prompt), place=max(0, len(self._open) - self._settings.slots)
        )
        self._open[asked.request] = _Open(asked.gateway, accepted, tracing.current.get())
        self._heard.setdefault(asked.gateway, time.monotonic())
        self._sink.open(asked.request, asked.gateway)
        self.thread.submit(sequence)
        self._remember(asked.prompt)
        return accepted

    def _again(self, asked: Generate, accepted: Accepted | None) -> Accepted:
        """A request that is known already gets the same stream, never a second generation."""
        self._sink.replay(asked.request, 0)
        return accepted or Accepted(prompt_tokens=0)

    def _refuse_if_full(self) -> None:
        if self._state != "ready":
            raise MeshError(Code.NO_ENGINE, "This engine takes no requests.", retry_after_s=1.0)
        settings = self._settings
        waiting = len(self._open) - settings.slots
        if waiting >= settings.queue_limit:
            wait_s = self._request_s * (1 + waiting / settings.slots)
            raise MeshError(
                Code.QUEUE_FULL,
                f"{settings.slots} requests are running and {waiting} wait already. "
                "Try again later, or add an engine for this model.",
                retry_after_s=min(max(1.0, wait_s), 60.0),
            )

    async def _count(self, asked: CountTokens) -> Counted:
        return Counted(tokens=len(await self._reception.tokens(asked.prompt, asked.gateway)))

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.request in self._open:
            self.thread.cancel(cancel.request)

    def _remember(self, prompt: Prompt) -> None:
        for digest in prefix_hashes(prompt):
            self._served[digest] = None
            self._served.move_to_end(digest)
        while len(self._served) > SERVED_PREFIXES:
            self._served.popitem(last=False)

    # Frames

    def _hand_over(self, frames: list[tuple[RequestId, AnyFrame]]) -> None:
        """Called on the model's thread, once a step."""
        self._loop.call_soon_threadsafe(self._send, frames)

    def _send(self, frames: list[tuple[RequestId, AnyFrame]]) -> None:
        self._sink.send(frames)
        for request, frame in frames:
            if isinstance(frame, End | Failed):
                known = self._open.pop(request, None)
                if known is not None and isinstance(frame, End):
                    self._account(known, frame)

    def _account(self, known: "_Open", end: End) -> None:
        took_s = end.timings.prefill_s + end.timings.decode_s
        self._request_s += LEARNING * (took_s - self._request_s)
        self._learn_speed(end)
        now = time.time()
        tracing.record(
            "generate",
            known.trace,
            now - end.timings.queued_s - took_s,
            now,
            **{
                "gen_ai.usage.output_tokens": end.usage.completion_tokens,
                "odyssai.cached_tokens": end.usage.cached_tokens,
                "odyssai.queued_s": end.timings.queued_s,
            },
        )

    def _learn_speed(self, end: End) -> None:
        """The first token is the prefill's; a few tokens more would tell little."""
        tokens, took_s = end.usage.completion_tokens - 1, end.timings.decode_s
        if tokens >= TELLING and took_s > 0:
            known = self._answer_tokens_per_s
            rate = tokens / took_s
            self._answer_tokens_per_s = known + LEARNING * (rate - known) if known else rate

    # Presence

    async def present(self) -> None:
        await beat(
            self._host.bus,
            self._settings.engine,
            (ENGINE_BEAT, ENGINE_TELEMETRY),
            self._describe,
            lambda state: (state.state, state.stalled_s >= STALL_S),
        )

    def _describe(self) -> EngineBeat:
        settings, now = self._settings, self.thread.snapshot()
        is_stalled = now.has_work and self._state == "ready"
        return EngineBeat(
            engine=settings.engine,
            node=settings.node,
            boot=settings.boot,
            pid=os.getpid(),
            state=self._state,
            models=(self._card,) if self._state != "loading" else (),
            slots=settings.slots,
            running=min(len(self._open), settings.slots),
            queued=max(0, len(self._open) - settings.slots),
            queue_limit=settings.queue_limit,
            queued_tokens=now.queued_tokens,
            steps=now.steps,
            stalled_s=round(time.monotonic() - now.last_step_at, 3) if is_stalled else 0.0,
            tokens_per_s=self._rate(now.generated_tokens),
            answer_tokens_per_s=round(self._answer_tokens_per_s, 1),
            generated_tokens=now.generated_tokens,
            memory_bytes=max(self._process.memory_info().rss, now.memory_bytes),
            cache=now.cache,
            served_prefixes=tuple(self._served),
            loads=id_of(settings.source) if self._state == "loading" else None,
        )

    def _rate(self, generated: int) -> float:
        """Tokens a second over the last second or more."""
        now, (since, before) = time.monotonic(), self._counted
        if now - since >= HEARTBEAT_S:
            self._tokens_per_s = round((generated - before) / (now - since), 1)
            self._counted = now, generated
        return self._tokens_per_s

    # Who we work for

    async def watch(self) -> None:
        """Stop generating for gateways that are gone; end when the agent is."""
        bus = self._host.bus
        await bus.listen(GATEWAY_BEAT, self._hear_gateway)
        await bus.listen(GONE, self._hear_gone)
        await bus.listen(NODE_BEAT, self._hear_agent, self._settings.node)
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            if not bus.is_connected:  # Silence proves nothing while we are deaf.
                self._heard = dict.fromkeys(self._heard, now)
                self._agent_heard = now
            silent = {g for g, at in self._heard.items() if now - at > GATEWAY_SILENCE_S}
            self._drop(silent)
            if now - self._agent_heard > ORPHAN_S:
                log.error("no agent for %g s: ending", ORPHAN_S)
                self._host.stopping.set()

    def _hear_gateway(self, beat: GatewayBeat) -> None:
        self._heard[beat.gateway] = time.monotonic()

    def _hear_gone(self, gone: Gone) -> None:
        if gone.kind == "gateway":
            self._drop({GatewayId(gone.id)})

    def _hear_agent(self, _: NodeBeat) -> None:
        self._agent_heard = time.monotonic()

    def _drop(self, gateways: set[GatewayId]) -> None:
        for gateway in gateways:
            self._heard.pop(gateway, None)
        for request, known in self._open.items():
            if known.gateway in gateways:
                log.info("cancelling %s: its gateway is gone", request)
                self.thread.cancel(request)
