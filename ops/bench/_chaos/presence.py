"""Who is heard on the bus, by process: what tells whether the mesh is whole again."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bus.connection import Bus
from proto.credentials import HOME, Holder
from proto.ids import EngineId, NodeId
from proto.presence import (
    STALL_S,
    EngineBeat,
    GatewayBeat,
    Gone,
    NodeBeat,
    ServiceBeat,
)
from proto.subjects import (
    ENGINE_BEAT,
    ENGINE_GONE,
    GATEWAY_BEAT,
    NODE_BEAT,
    REQUEST_TELEMETRY,
    SERVICE_BEAT,
)
from proto.telemetry import RequestEvent

FRESH_S = 1.75
"""One heartbeat, and as much again for a busy machine, minus a little."""


class Presence:
    """The latest heartbeat of everybody."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        """Of the console, which may write what an operator may."""
        self._heard: dict[int, tuple[float, int]] = {}
        """When a process was heard, and how many tasks it had."""
        self.resumed = 0
        """How often another engine went on with an answer, of requests that are over."""
        self._engines: dict[EngineId, tuple[float, EngineBeat]] = {}

    @classmethod
    @asynccontextmanager
    async def follow(cls, url: Callable[[Holder], str]) -> "AsyncIterator[Presence]":
        async with (
            Bus.connect(url(Holder("health", HOME)), "ops:chaos") as bus,
            Bus.connect(url(Holder("ops", HOME)), "ops:chaos-telemetry") as telemetry,
            Bus.connect(url(Holder("console", HOME)), "ops:chaos-console") as console,
        ):
            presence = cls(console)
            await bus.listen(ENGINE_BEAT, presence._hear_engine)
            await bus.listen(GATEWAY_BEAT, presence._hear)
            await bus.listen(NODE_BEAT, presence._hear)
            await bus.listen(SERVICE_BEAT, presence._hear)
            await bus.listen(ENGINE_GONE, presence._hear_gone)
            await telemetry.listen(REQUEST_TELEMETRY, presence._hear_request)
            yield presence

    def _hear(self, beat: GatewayBeat | NodeBeat | ServiceBeat) -> None:
        self._heard[beat.pid] = time.monotonic(), beat.asyncio_tasks

    def _hear_engine(self, beat: EngineBeat) -> None:
        self._engines[beat.engine] = time.monotonic(), beat
        if beat.upstream is None:
            self._heard[beat.pid] = time.monotonic(), beat.asyncio_tasks

    def _hear_request(self, event: RequestEvent) -> None:
        self.resumed += event.resumed

    def _hear_gone(self, gone: Gone) -> None:
        self._engines.pop(EngineId(gone.id), None)

    def hears(self, pid: int | None) -> bool:
        heard = self._heard.get(pid or 0)
        return heard is not None and time.monotonic() - heard[0] < FRESH_S

    def tasks(self, pid: int) -> int:
        return self._heard.get(pid, (0.0, 0))[1]

    def engines(self, node: str) -> list[EngineBeat]:
        """Those of a node that are heard now."""
        oldest = time.monotonic() - FRESH_S
        return [
            beat for at, beat in self._engines.values() if beat.node == NodeId(node) and at > oldest
        ]

    def serves(self, node: str) -> bool:
        """An engine of the node takes requests and makes progress."""
        return any(e.state == "ready" and e.stalled_s < STALL_S for e in self.engines(node))

    def engine_pid(self, node: str) -> int:
        """Of the engine that was heard last there; 0 for none yet."""
        beats = [heard for heard in self._engines.values() if heard[1].node == NodeId(node)]
        return max(beats, key=lambda heard: heard[0])[1].pid if beats else 0
