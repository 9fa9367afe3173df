"""A rank finds the others of its group over the bus, and watches them for as long as it lives.

A group lives and ends as one: a rank that sees another go ends as well, and its agent starts the
next life, which gathers anew. Nothing of the life before can reach anybody by then.

This is the asyncio side; nothing here touches an array.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from msgspec import msgpack
from msgspec.structs import replace

from bus.address import address_towards
from bus.presence import asyncio_tasks, beat
from proto.group import (
    RANK_BEAT_S,
    RANK_BUSY_S,
    RANK_SILENCE_S,
    Formation,
    Group,
    RankBeat,
    RankPhase,
)
from proto.ids import EngineId, fresh
from proto.presence import Gone
from proto.subjects import ENGINE_GONE, RANK_BEAT, RANK_TELEMETRY
from services.host import Host
from services.runner.engine.group import cores
from services.runner.engine.settings import Settings
from services.runner.groups.environment import rank_environment

log = logging.getLogger(__name__)

WATCH_S = 0.1


@dataclass(frozen=True)
class Pace:
    """How far a rank is in this life."""

    steps: int = 0
    busy_s: float = 0.0
    memory_bytes: int = 0


class Gathering:
    """One rank's view of its group. ``now`` is monotonic; ``end`` ends the process."""

    def __init__(
        self,
        host: Host,
        settings: Settings,
        group: Group,
        end: Callable[[int], object] = os._exit,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.group = group
        self.pace: Callable[[], Pace] = Pace
        self._host = host
        self._settings = settings
        self._end = end
        self._now = now
        self._rank = group.rank_of(settings.engine)
        self._others = {
            rank: member.engine
            for rank, member in enumerate(group.members)
            if member.engine != settings.engine
        }
        self._loop = asyncio.get_running_loop()
        self._said = RankBeat(
            engine=settings.engine,
            boot=settings.boot,
            pid=os.getpid(),
            leader=group.leader,
            rank=self._rank,
            size=len(group.members),
            likeness=likeness(group),
            phase="gathering",
        )
        self._heard: dict[EngineId, tuple[float, RankBeat]] = {}
        self._news = asyncio.Event()
        self._formation: Formation | None = None
        self._woken = threading.Condition()
        self._awake = 0
        """How often the leader has said to have woken the others."""

    @classmethod
    @asynccontextmanager
    async def open(cls, host: Host, settings: Settings, group: Group) -> "AsyncIterator[Gathering]":
        """Heard by the others, hearing them, and watching them once they are its group."""
        gathering = cls(host, settings, group)
        await host.bus.listen(RANK_BEAT, gathering.hear)
        await host.bus.listen(ENGINE_GONE, gathering.hear_gone)
        async with asyncio.TaskGroup() as tasks:
            living = [tasks.create_task(gathering._say()), tasks.create_task(gathering._watch())]
            try:
                yield gathering
            finally:
                for task in living:
                    task.cancel()

    # Before mlx knows the group

    async def formed(self) -> Formation:
        """Once all ranks are there and mlx is told where, by the process's environment."""
        member = self.group.members[self._rank]
        address = member.address or self._settings.address or address_towards(self._host.bus.url)
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as reserved:
            # Until mlx listens there itself nobody else is given this port.
            reserved.bind((address, 0))
            self._tell(address=f"{address}:{reserved.getsockname()[1]}")
            formation = await self._agreed()
        self._tell(formation=formation, phase="connecting", detail="")
        self.group = replace(self.group, backend=formation.backend)
        told = rank_environment(
            self.group,
            self._rank,
            formation.addresses,
            self._host.home / "groups" / self._settings.engine,
        )
        for file, content in told.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        os.environ.update(told.variables)
        here = formation.beside(self._rank)
        cores.share(here.index(self._rank), len(here))
        self._formation = formation
        # While mlx meets the others nothing is said: it lets no other thread run.
        await self._say_now()
        await self._host.bus.settled()
        return formation

    async def _agreed(self) -> Formation:
        while (formation := self._proposed() if self._rank == 0 else self._invited()) is None:
            self._tell(detail=self._wanting())
            self._news.clear()
            await self._news.wait()
        return formation

    def _proposed(self) -> Formation | None:
        """By the leader, once all others wait for it."""
        others = [self._fresh(engine) for engine in self._others.values()]
        waiting = [
            beat
            for beat in others
            if beat is not None and beat.phase == "gathering" and beat.address
        ]
        if len(waiting) < len(others):
            return None
        ranks = [self._said, *waiting]
        return Formation(
            epoch=fresh(),
            boots=tuple(beat.boot for beat in ranks),
            addresses=tuple(beat.address for beat in ranks),
            backend=self.group.backend,
        )

    def _invited(self) -> Formation | None:
        leader = self._fresh(self.group.leader)
        formation = leader.formation if leader else None
        if formation is None or formation.boots[self._rank] != self._said.boot:
            return None
        return formation

    def _fresh(self, engine: EngineId) -> RankBeat | None:
        """What it said, if that was of late and of a group like ours."""
        at, said = self._heard.get(engine, (0.0, None))
        if (
            said is None
            or said.likeness != self._said.likeness
            or at < self._oldest(RANK_SILENCE_S)
        ):
            return None
        return said

    def _wanting(self) -> str:
        if self._rank:
            return f"waits for {self.group.leader}"
        absent = [engine for engine in self._others.values() if self._fresh(engine) is None]
        busy = [engine for engine in self._others.values() if engine not in absent]
        return f"waits for {', '.join(absent or busy)}"

    # As long as the group lives

    def told(self, phase: RankPhase, files: str = "", proof: tuple[int, ...] = ()) -> None:
        """On any thread: how far it is, and the checksum of its files once that is known."""
        known = {name: value for name, value in (("checksum", files), ("proof", proof)) if value}
        self._loop.call_soon_threadsafe(lambda: self._tell(phase=phase, **known))

    def lost(self, why: str, status: int = os.EX_TEMPFAIL) -> None:
        """On any thread: this life of the group is over. ``status``: of the process."""
        log.error("the group of %s cannot go on: %s", self.group.leader, why)
        logging.shutdown()
        self._end(status)

    def wake(self) -> None:
        """By the leader, on any thread."""
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._tell(awake=self._said.awake + 1)
        self._waking = self._loop.create_task(self._say_now())

    def rest(self, times: int) -> None:
        """By another, on the model's thread: return when the leader has woken it so often."""
        with self._woken:
            self._woken.wait_for(lambda: self._awake >= times)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self.look()

    def look(self) -> None:
        """End when another rank has."""
        if self._formation is not None and (why := self._missing(self._formation)):
            self.lost(why)

    def _missing(self, formation: Formation) -> str:
        """Who of it is there no more, in words; empty: all are."""
        for rank, engine in self._others.items():
            at, said = self._heard[engine]
            if said.boot != formation.boots[rank]:
                return f"{engine} has begun anew"
            if at < self._oldest(RANK_SILENCE_S if said.phase == "ready" else RANK_BUSY_S):
                return f"{engine} was not heard for {self._now() - at:.1f} s"
        return ""

    def _oldest(self, silence_s: float) -> float:
        return self._host.bus.ear.oldest(silence_s)

    # What is said and heard

    async def _say(self) -> None:
        await beat(
            self._host.bus,
            self._settings.engine,
            (RANK_BEAT, RANK_TELEMETRY),
            self._described,
            lambda said: (said.phase, said.address, said.formation),
            every_s=RANK_BEAT_S,
        )

    async def _say_now(self) -> None:
        await self._host.bus.publish(RANK_BEAT, self._described(), self._settings.engine)

    def _described(self) -> RankBeat:
        pace = self.pace()
        return replace(
            self._said,
            steps=pace.steps,
            busy_s=pace.busy_s,
            memory_bytes=pace.memory_bytes,
            asyncio_tasks=asyncio_tasks(),
        )

    def _tell(self, **known: object) -> None:
        self._said = replace(self._said, **known)

    def hear(self, said: RankBeat) -> None:
        if said.engine in self._others.values():
            self._heard[said.engine] = self._now(), said
            self._news.set()
        if said.engine == self.group.leader:
            with self._woken:
                self._awake = said.awake
                self._woken.notify_all()

    def hear_gone(self, gone: Gone) -> None:
        if self._formation is None:
            return
        for rank, engine in self._others.items():
            if gone.id == engine and gone.boot in ("", self._formation.boots[rank]):
                self.lost(f"{engine} has ended: {gone.why}")


def likeness(group: Group) -> str:
    """The same for all ranks that would do the same. The backend is the leader's to choose."""
    return sha256(msgpack.encode(replace(group, backend="ring"))).hexdigest()[:16]
