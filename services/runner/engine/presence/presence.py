"""What every engine is on the bus, whatever its model does: there, watched for, and its agent's."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

import psutil
from msgspec.structs import replace

from bus.presence import asyncio_tasks, beat, farewell
from proto.errors import Code, MeshError
from proto.presence import HEARTBEAT_S, STALL_S, EngineBeat, EngineState, Gone, ModelCard, NodeBeat
from proto.subjects import ENGINE_BEAT, ENGINE_TELEMETRY, NODE_BEAT
from services.host import Host
from services.runner.engine.presence.activity import Activity
from services.runner.engine.presence.aliases import with_aliases
from services.runner.engine.queueing.queue import has_place
from services.runner.engine.settings import Settings
from services.runner.models.names import id_of

log = logging.getLogger(__name__)

T = TypeVar("T")

ORPHAN_S = 30.0
"""Without an agent for this long, an engine belongs to nobody and ends."""
WATCH_S = 0.5
LEARNING = 0.1
"""Weight of the latest request in how long one takes."""


class Presence:
    """Says that the engine is there, and ends it when nobody keeps it any more."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host
        self.settings = settings
        self.state: EngineState = "loading"
        self.card: ModelCard | None = None
        """Of the model, once it is loaded."""
        self.describe: Callable[[EngineBeat], EngineBeat] = lambda plain: plain
        """Adds what only the engine itself knows to a heartbeat."""
        self.activity = Activity()
        self._request_s = 1.0
        self._agent_heard = time.monotonic()
        self._counted = (time.monotonic(), 0)
        self._tokens_per_s = 0.0
        self._process = psutil.Process()

    def introduce(self, card: ModelCard) -> ModelCard:
        """The loaded model's card, with the other names and the context that settings give it."""
        context = min(card.context_length, self.settings.context or card.context_length)
        card = replace(card, context_length=context)
        self.card = with_aliases(card, self.settings.source, self.settings.aliases)
        return self.card

    async def say(self) -> None:
        """Heartbeats, for ever."""
        await beat(
            self.host.bus,
            self.settings.engine,
            (ENGINE_BEAT, ENGINE_TELEMETRY),
            self._beat,
            lambda state: (state.state, state.stalled_s >= STALL_S),
            # By its fingerprint a prompt that somebody guesses could be told to have been asked.
            lambda state: replace(state, prefixes={}),
        )

    def _beat(self) -> EngineBeat:
        settings = self.settings
        plain = EngineBeat(
            engine=settings.engine,
            node=settings.node,
            boot=settings.boot,
            pid=os.getpid(),
            state=self.state,
            models=(self.card,) if self.card is not None and self.state != "loading" else (),
            loads=id_of(settings.source) if self.state == "loading" else None,
            slots=settings.slots,
            queue_limit=settings.queue_limit,
            kv_tokens=settings.kv_tokens or 0,
            request_s=round(self._request_s, 3),
            idle_s=self.activity.idle_s() if self.state == "ready" else 0.0,
            memory_bytes=self._process.memory_info().rss,
            asyncio_tasks=asyncio_tasks(),
        )
        return self.describe(plain)

    def stalled_s(self, has_work: bool, last_step_at: float) -> float:
        """How long the step clock has stood, for an engine that serves."""
        stands = has_work and self.state == "ready"
        return round(time.monotonic() - last_step_at, 3) if stands else 0.0

    def rate(self, made: int) -> float:
        """Of what is counted in all, how much a second over the last second or more."""
        now, (since, before) = time.monotonic(), self._counted
        if now - since >= HEARTBEAT_S:
            self._tokens_per_s = round((made - before) / (now - since), 1)
            self._counted = now, made
        return self._tokens_per_s

    def refuse_if_full(self, taken: int, own: int = 0) -> None:
        """Raises MeshError when so many requests are all that may run and wait, or when ``own``
        that wait already are all that may of one key.
        """
        if self.state != "ready":
            raise MeshError(Code.NO_ENGINE, "This engine takes no requests.", retry_after_s=1.0)
        slots, limit = self.settings.slots, self.settings.queue_limit
        waiting = max(0, taken - slots)
        own = min(own, waiting)
        if has_place(waiting, own, limit):
            return
        behind = own if waiting < limit else waiting
        whose = f", {own} of them of your key, which may have no more" if waiting < limit else ""
        wait_s = self._request_s * (1 + behind / slots)
        raise MeshError(
            Code.QUEUE_FULL,
            f"{slots} requests are running and {waiting} wait already{whose}. "
            "Try again later, or add an engine for this model.",
            retry_after_s=min(max(1.0, wait_s), 60.0),
        )

    def learn(self, took_s: float) -> None:
        """How long a request ran."""
        self._request_s += LEARNING * (took_s - self._request_s)

    async def watch_agent(self) -> None:
        """End the engine when its agent has been away for long."""
        bus = self.host.bus
        await bus.listen(NODE_BEAT, self._hear_agent, self.settings.node)
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            if not bus.is_connected:  # Silence proves nothing while we are deaf.
                self._agent_heard = now
            if now - self._agent_heard > ORPHAN_S:
                log.error("no agent for %g s: ending", ORPHAN_S)
                self.host.stopping.set()

    def _hear_agent(self, _: NodeBeat) -> None:
        self._agent_heard = time.monotonic()

    async def leave(self) -> None:
        """The last word."""
        settings = self.settings
        gone = Gone(kind="engine", id=settings.engine, boot=settings.boot, why="stopped")
        await farewell(self.host.bus, gone)
        await self.host.bus.settled()
