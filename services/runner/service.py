"""The agent's loop: run the engines that its node's plan wants, and say how far they are."""

import asyncio
import logging
import os
import platform
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psutil

from bus.errors import NotConnected
from bus.presence import asyncio_tasks, beat, farewell
from bus.state import Bucket
from proto.ids import engine_id
from proto.plan import NodePlan, Placement, Quarantine
from proto.presence import EngineStatus, Gone, NodeBeat
from proto.state import ENGINES, EngineRecord
from proto.subjects import EXAMINE, NODE_BEAT, NODE_TELEMETRY, RESTART_AGENT
from services.host import VERSION, Host
from services.runner.chip import chip
from services.runner.crew.crew import Crew
from services.runner.crew.keeper import Desk
from services.runner.crew.records import Records
from services.runner.examination import Examination
from services.runner.links.addresses import usual_address
from services.runner.links.links import Links
from services.runner.memory import available_bytes, printed, wirable_bytes
from services.runner.plan.edits import Memory, with_flags_only_of, with_quarantine
from services.runner.plan.flags import Flag
from services.runner.plan.record import PlanRecord
from services.runner.restart import Restart, begin_anew
from services.runner.settings import Settings, read
from services.runner.store.store import ModelStore

log = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN_S = 0.2


async def serve(host: Host) -> None:
    """Run what the plan says until asked to stop, or to start anew without ending any engine."""
    restart = Restart()
    # Of an agent no successor can be started: two on one node would be one too many.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, restart.asked.set)
    agent = await host.unless_stopped(Agent.open(host, read()))
    if agent is None:
        return
    await host.bus.answer(RESTART_AGENT, restart.answer, agent.node)
    await agent.run(restart)
    await host.bus.quiet()
    if not host.stopping.is_set():
        begin_anew()


class Agent:
    """What a node runs, how far it is with it, and what it has left to give away."""

    def __init__(
        self,
        host: Host,
        settings: Settings,
        record: PlanRecord,
        records: Records,
        wirable_bytes: int,
        chip: str,
    ) -> None:
        self.node = settings.node
        self._host = host
        self._settings = settings
        self._record = record
        self._wirable_bytes = wirable_bytes
        self._chip = chip
        self._store = ModelStore(host, settings.node)
        self._desk = Desk(
            host, settings.node, records, self._store, self._give_up, settings.crash_limit
        )
        self._flags = [
            Flag(host.bus, settings.node, source, record, self._store, self._memory)
            for source in settings.sources
        ]
        self._crew: Crew
        self._links: Links | None = None

    @classmethod
    async def open(cls, host: Host, settings: Settings) -> "Agent":
        """Once the mesh's state is there: without it nobody knows what runs here already."""
        record = await _once_there(lambda: PlanRecord.open(host.bus, settings.node))
        records = await _once_there(lambda: Bucket.open(host.bus, ENGINES, EngineRecord))
        return cls(
            host,
            settings,
            record,
            Records(records),
            await wirable_bytes(settings.memory_bytes),
            await chip(platform.system(), printed),
        )

    async def run(self, restart: Restart) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._crew = crew = Crew(self._desk, tasks)
            self._store.is_loaded = crew.holds
            look = Examination(self.node, self._host.home, self._wirable_bytes, self._store)
            await self._host.bus.answer(EXAMINE, look.answer, self.node)
            living = [
                tasks.create_task(work)
                for work in (
                    self._present(),
                    self._store.run(),
                    self._follow_plan(),
                    self._measure_links(),
                )
            ]
            await _first(self._host.stopping, restart.asked)
            for task in living:
                task.cancel()
            if self._host.stopping.is_set():
                crew.stop()
            else:
                crew.leave()
        if self._host.stopping.is_set():
            gone = Gone(kind="node", id=self.node, boot=self._host.boot, why="stopped")
            await farewell(self._host.bus, gone)

    async def _follow_plan(self) -> None:
        """What the plan has is started at once; flags are placed beside it."""
        named = {flag.engine for flag in self._flags}
        plan = await self._record.change(lambda plan: with_flags_only_of(plan, named))
        await self._crew.end_strangers(plan)
        self._host.ready()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._record.watch(self._hear_plan))
            for flag in self._flags:
                tasks.create_task(flag.run())

    def _hear_plan(self, plan: NodePlan) -> None:
        self._crew.follow(plan)
        self._store.set_tasks(plan.tasks)

    async def _give_up(self, placement: Placement, quarantine: Quarantine) -> None:
        await self._record.change(lambda plan: with_quarantine(plan, placement, quarantine))

    async def _measure_links(self) -> None:
        try:
            usual = usual_address(self._store.files_host, self._host.bus.url)
        except OSError as trouble:
            log.warning("links are not measured, since no address is known: %s", trouble)
            return
        self._links = Links(self._host.bus, self.node, usual, self._crew.is_at_work)
        await self._links.run()

    def _memory(self) -> Memory:
        return Memory(self._wirable_bytes, available_bytes(), self._crew.measured())

    async def _present(self) -> None:
        await beat(
            self._host.bus, self.node, (NODE_BEAT, NODE_TELEMETRY), self._describe, _what_is_urgent
        )

    def _describe(self) -> NodeBeat:
        memory = psutil.virtual_memory()
        return NodeBeat(
            node=self.node,
            boot=self._host.boot,
            pid=os.getpid(),
            host=socket.gethostname(),
            platform=f"{platform.system()} {platform.machine()}",
            cpu_count=os.cpu_count() or 0,
            memory_bytes=memory.total,
            free_bytes=memory.available,
            load=os.getloadavg()[0],
            wirable_bytes=self._wirable_bytes,
            chip=self._chip,
            engines=self._statuses(),
            tasks=self._store.tasks(),
            is_draining=self._record.plan.is_drained,
            version=VERSION,
            links=self._links.told() if self._links else (),
            asyncio_tasks=asyncio_tasks(),
        )

    def _statuses(self) -> tuple[EngineStatus, ...]:
        """By engine: what its keeper says counts most, then its flag, then its quarantine."""
        known = {
            status.engine: status
            for status in (
                *map(self._quarantined, self._record.plan.quarantined),
                *filter(None, (flag.status() for flag in self._flags)),
                *self._crew.statuses(),
            )
        }
        return tuple(known[engine] for engine in sorted(known))

    def _quarantined(self, quarantine: Quarantine) -> EngineStatus:
        return EngineStatus(
            engine=engine_id(self.node, quarantine.source),
            model=quarantine.model,
            phase="quarantined",
            detail=quarantine.reason,
            crashes=quarantine.crashes,
        )


def _what_is_urgent(beat: NodeBeat) -> object:
    engines = [(status.engine, status.phase, status.life) for status in beat.engines]
    return engines, [(task.job, task.phase) for task in beat.tasks], beat.is_draining


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for wait in waiting:
        wait.cancel()


async def _once_there(open_: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await open_()
        except NotConnected as away:
            log.warning("waiting for the mesh's state: %s", away)
            await asyncio.sleep(AGAIN_S)
