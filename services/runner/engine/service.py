"""The engine on the bus: takes requests, hands them to the model's thread, sends its frames.

This is the asyncio side; nothing here touches an array.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec.structs import replace

from bus import tracing
from bus.deadline import moment
from bus.gateways import Gateways
from bus.holding import Holding
from bus.sink import TokenSink, answer_replays, digest_of
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, End, Failed
from proto.generation import Accepted, Cancel, Generate
from proto.ids import GatewayId, RequestId
from proto.placement import Priority
from proto.presence import EngineBeat
from proto.subjects import (
    CANCEL,
    COUNT_TOKENS,
    DETOKENIZE,
    GENERATE,
    TOKENIZE,
)
from proto.tokenization import Counted, CountTokens
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.loop import ModelThread
from services.runner.engine.constraints.grammars import vocabulary
from services.runner.engine.constraints.trial import Trial
from services.runner.engine.drafting.execution import with_draft
from services.runner.engine.group.gathering import Gathering, Pace
from services.runner.engine.group.leading import Leading
from services.runner.engine.group.service import joined
from services.runner.engine.presence.presence import LEARNING, Presence
from services.runner.engine.reception import Reception
from services.runner.engine.vision.album import Album

log = logging.getLogger(__name__)

TELLING = 8
"""Tokens of an answer whose speed is worth remembering."""


class _Open(NamedTuple):
    """A request that has not ended."""

    gateway: GatewayId
    epoch: int
    accepted: Accepted
    is_continued: bool
    """Another engine began it."""
    priority: Priority
    trace: tracing.TraceContext | None


class Engine:
    """One loaded model as the mesh sees it: what it holds, takes, refuses and says."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, presence: Presence, gathering: Gathering | None = None
    ) -> "AsyncIterator[Engine]":
        """With a token connection of its own, and an eye on the gateways it works for.

        ``gathering``: of the group that it leads, if it has only a part of the model.
        """
        async with (
            TokenSink.connect(presence.host.bus.url, presence.settings.engine) as sink,
            asyncio.TaskGroup() as tasks,
        ):
            engine = cls(presence, sink, gathering)
            watching = tasks.create_task(engine.gateways.watch())
            try:
                yield engine
            finally:
                watching.cancel()
                engine.thread.stop()

    def __init__(self, presence: Presence, sink: TokenSink, gathering: Gathering | None) -> None:
        self._presence = presence
        self._gathering = gathering
        presence.describe = self._describe
        self._host = host = presence.host
        self._settings = settings = presence.settings
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self.thread = ModelThread(
            self._execution,
            self._hand_over,
            slots=settings.slots,
            cache_bytes=settings.cache_bytes,
            kv=KvRoom(settings.kv_tokens, settings.kv_bytes),
        )
        self._open: dict[RequestId, _Open] = {}
        self.gateways = Gateways(
            host.bus, lambda: (known.gateway for known in self._open.values()), self._release
        )
        self._answer_tokens_per_s = 0.0
        if gathering is not None:
            gathering.pace = self._pace

    def _execution(self) -> Execution:
        """On the model's thread. Raises NotLoadable."""
        settings = self._settings
        if self._gathering is not None:
            return Leading(joined(self._gathering, self._presence))
        if settings.draft:
            home, trusts_code = self._host.home, settings.trusts_code
            return with_draft(settings.source, settings.draft, home, trusts_code=trusts_code)
        return Execution.of(settings.source, self._host.home, trusts_code=settings.trusts_code)

    async def load(self) -> bool:
        """False when the engine was asked to stop meanwhile. Raises NotLoadable."""
        if self._gathering is not None:
            formed = self._gathering.formed()
            if await self._host.unless_stopped(formed) is None:
                return False
        loaded = await self._host.unless_stopped(asyncio.wrap_future(self.thread.start()))
        if loaded is None:
            return False
        card = self._presence.introduce(loaded.card)
        album = None if loaded.eyes is None else Album(self._host.bus, loaded.eyes)
        self._trial = Trial(lambda: vocabulary(loaded))
        self._reception = Reception(
            dataclasses.replace(loaded, card=card),
            album,
            made_for=loaded.card.context_length,
            trial=self._trial,
        )
        return True

    async def prepare(self) -> None:
        """Once it serves: what the first request for a format would wait for."""
        card = self._presence.card
        if card and card.keeps_formats and not await self._reception.prepare():
            self._presence.card = replace(card, keeps_formats=False)

    async def answer(self) -> None:
        bus, engine = self._host.bus, self._settings.engine
        await bus.answer(GENERATE, self._generate, engine)
        await bus.answer(COUNT_TOKENS, self._count, engine)
        await bus.answer(TOKENIZE, self._reception.tokenize, engine)
        await bus.answer(DETOKENIZE, self._reception.detokenize, engine)
        await bus.listen(CANCEL, self._cancel, engine)
        await answer_replays(bus, self._sink, engine)
        await Holding(self._sink, self.thread.hold, self.thread.go_on).follow(bus, engine)

    def abandon(self) -> None:
        for request in self._open:
            self.thread.release(request, "the engine is stopping")

    async def settled(self) -> None:
        """Frames have a connection of their own: they go before the farewell only if waited for."""
        await self._sink.settled()

    # Requests

    async def _generate(self, asked: Generate) -> Accepted:
        if self._sink.knows(asked.request, asked.epoch):
            return self._again(asked)
        expires_at = moment(asked.left_s)
        self._refuse_unless_reachable(asked, expires_at)
        sequence = await self._reception.receive(asked)
        sequence.expires_at = expires_at
        if self._sink.knows(asked.request, asked.epoch):  # It came again meanwhile.
            return self._again(asked)
        self._refuse_unless_reachable(asked, expires_at)
        if asked.request in self._open:  # Its gateway took us for lost, and comes back.
            self.thread.cancel(asked.request, asked.epoch - 1)
        waits = self._taken >= self._settings.slots or self.thread.lacks_memory_for(sequence)
        self.gateways.hear(asked.gateway)
        self._sink.open(asked.request, asked.gateway, asked.epoch, digest_of(asked))
        self.thread.submit(sequence)
        place = self.thread.queue.place_of(asked.request) if waits else None
        accepted = Accepted(prompt_tokens=sequence.prompt_tokens, place=place or 0)
        self._open[asked.request] = _Open(
            asked.gateway,
            asked.epoch,
            accepted,
            asked.continues is not None,
            asked.priority,
            tracing.current.get(),
        )
        self._presence.activity.note(len(self._open))
        return accepted

    @property
    def _taken(self) -> int:
        """Requests that run or wait; who does not read takes nobody's place."""
        return len(self._open) - self.thread.parked

    def _refuse_unless_reachable(self, asked: Generate, expires_at: float | None) -> None:
        """Raises MeshError when there is no place for it, or no time."""
        self._presence.refuse_if_full(self._taken, self.thread.queue.waiting_of(asked.key))
        if expires_at is not None and expires_at <= time.monotonic():
            raise MeshError(
                Code.DEADLINE, "The request's deadline passed before it could be accepted."
            )

    def _again(self, asked: Generate) -> Accepted:
        """An attempt that is known already gets the same stream, never a second generation.

        Another gateway may ask for it, as one does that takes over what a dead one was answering.
        """
        self._sink.resend(asked)
        known = self._open.get(asked.request)
        if known is None:
            return Accepted(prompt_tokens=0)
        self._open[asked.request] = known._replace(gateway=asked.gateway)
        self.gateways.hear(asked.gateway)
        return known.accepted

    async def _count(self, asked: CountTokens) -> Counted:
        return Counted(tokens=len(await self._reception.tokens(asked.prompt, asked.gateway)))

    def _cancel(self, cancel: Cancel) -> None:
        if cancel.request in self._open:
            self.thread.cancel(cancel.request, cancel.epoch)

    def _release(self, gateway: GatewayId) -> None:
        """Stop generating for one that is gone; if it was only cut off, it may go on elsewhere."""
        for request, known in self._open.items():
            if known.gateway == gateway:
                log.info("ending %s: its gateway is gone", request)
                self.thread.release(request, "the engine no longer heard the gateway")

    # Frames

    def _hand_over(self, frames: list[tuple[RequestId, AnyFrame]]) -> None:
        """Called on the model's thread, once a step."""
        self._loop.call_soon_threadsafe(self._send, frames)

    def _send(self, frames: list[tuple[RequestId, AnyFrame]]) -> None:
        self._sink.send(frames)
        for request, frame in frames:
            if isinstance(frame, End | Failed):
                known = self._open.get(request)
                if known is not None and known.epoch == frame.epoch:
                    del self._open[request]
                    if isinstance(frame, End) and not known.is_continued:
                        self._account(known, frame)
        self._presence.activity.note(len(self._open))

    def _account(self, known: "_Open", end: End) -> None:
        took_s = end.timings.prefill_s + end.timings.decode_s
        self._presence.learn(took_s)
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

    def _pace(self) -> Pace:
        now = self.thread.snapshot()
        stalled_s = self._presence.stalled_s(now.has_work, now.last_step_at)
        return Pace(now.steps, stalled_s, now.memory_bytes)

    def _describe(self, plain: EngineBeat) -> EngineBeat:
        settings, now = self._settings, self.thread.snapshot()
        # Who just came and finds a slot free is no news, but memory may be short before slots are.
        waiting = now.queued if settings.kv_tokens or settings.kv_bytes else 0
        taken = max(len(self._open) - now.parked, 0)
        queued = max(taken - settings.slots, min(waiting, taken), 0)
        return replace(
            plain,
            running=taken - queued,
            queued=queued,
            parked=now.parked,
            batch_requests=sum(known.priority == "batch" for known in self._open.values()),
            queued_tokens=now.queued_tokens,
            unread=now.unread,
            prefill_tokens_per_s=round(now.prefill_tokens_per_s, 1),
            steps=now.steps,
            stalled_s=self._presence.stalled_s(now.has_work, now.last_step_at),
            tokens_per_s=self._presence.rate(now.generated_tokens),
            answer_tokens_per_s=round(self._answer_tokens_per_s, 1),
            generated_tokens=now.generated_tokens,
            memory_bytes=max(plain.memory_bytes, now.memory_bytes),
            cache=now.cache,
            kv_used_tokens=now.kv_used_tokens,
            prefixes=now.prefixes,
            drafting=now.drafting,
        )
