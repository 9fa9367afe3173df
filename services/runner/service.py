"""The agent's loop: keep one engine alive for every model this node should hold."""

import asyncio
import logging
import os
import platform
import signal
import socket
import time
from collections.abc import Callable

import msgspec
import psutil

from bus.errors import BusError, Conflict
from bus.presence import beat, farewell
from bus.state import Bucket
from proto.ids import EngineId, ModelId, NodeId, engine_id, fresh
from proto.presence import (
    STALL_S,
    EngineBeat,
    EnginePhase,
    EngineStatus,
    Gone,
    NodeBeat,
)
from proto.state import ENGINES, EngineRecord
from proto.subjects import ENGINE_BEAT, EVENT_TELEMETRY, NODE_BEAT, NODE_TELEMETRY
from proto.telemetry import EngineEvent, Phase
from services.host import Host
from services.runner.process import EngineProcess, last_words
from services.runner.settings import Settings, read

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Restarts wait ever longer, so that a model that cannot load does not burn the node."""
STEADY_S = 30.0
"""An engine that lived this long starts over with the first wait."""
WEDGED_S = 10.0
"""An engine out of rotation this long, silent or without a step, is ended and started again."""
GRACE_S = 5.0
RECORD_AGAIN_S = 0.2


async def serve(host: Host) -> None:
    """Hold this node's engines until asked to stop, then stop them."""
    settings = read()
    records = await Bucket.open(host.bus, ENGINES, EngineRecord)
    keepers = [Keeper(host, settings.node, source, records) for source in settings.sources]
    for keeper in keepers:
        await host.bus.listen(ENGINE_BEAT, keeper.hear, keeper.engine)
    async with asyncio.TaskGroup() as tasks:
        living = [
            tasks.create_task(work)
            for keeper in keepers
            for work in (keeper.keep(), keeper.note_readiness())
        ]
        living.append(tasks.create_task(_present(host, settings, keepers)))
        await host.stopping.wait()
        for task in living:
            task.cancel()
    async with asyncio.TaskGroup() as tasks:
        for keeper in keepers:
            tasks.create_task(keeper.stop())
    await farewell(host.bus, Gone(kind="node", id=settings.node, boot=host.boot, why="stopped"))
    await host.bus.settled()


async def _present(host: Host, settings: Settings, keepers: "list[Keeper]") -> None:
    def describe() -> NodeBeat:
        memory = psutil.virtual_memory()
        return NodeBeat(
            node=settings.node,
            boot=host.boot,
            pid=os.getpid(),
            host=socket.gethostname(),
            platform=f"{platform.system()} {platform.machine()}",
            cpu_count=os.cpu_count() or 0,
            memory_bytes=memory.total,
            free_bytes=memory.available,
            load=os.getloadavg()[0],
            engines=tuple(keeper.status() for keeper in keepers),
        )

    await beat(host.bus, settings.node, (NODE_BEAT, NODE_TELEMETRY), describe)


class Keeper:
    """Keeps one engine: adopts the one that runs, or starts it, again and again."""

    def __init__(
        self,
        host: Host,
        node: NodeId,
        source: str,
        records: Bucket[EngineRecord],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine: EngineId = engine_id(node, source)
        self._host = host
        self._node = node
        self._source = source
        self._records = records
        self._now = now
        self._process: EngineProcess | None = None
        self._boot = ""
        self._heard: EngineBeat | None = None
        self._ready: asyncio.Queue[EngineBeat] = asyncio.Queue()
        self._well_at = self._now()
        self._log = host.home / "logs" / f"engine-{self.engine}.log"

    def hear(self, beat: EngineBeat) -> None:
        is_news = self._heard is None or self._heard.boot != beat.boot
        was_ready = not is_news and self._heard is not None and self._heard.state == "ready"
        self._heard = beat
        self._boot = beat.boot
        if beat.stalled_s < STALL_S:  # At work it is never quite zero.
            self._well_at = self._now()
        if beat.state == "ready" and not was_ready:
            self._ready.put_nowait(beat)

    def status(self) -> EngineStatus:
        is_ready = self._heard is not None and self._heard.state == "ready"
        phase: EnginePhase = "ready" if is_ready else "loading"
        return EngineStatus(engine=self.engine, model=ModelId(self._source), phase=phase)

    def is_wedged(self) -> bool:
        """It was heard once, and has been silent or without a step for ``WEDGED_S``."""
        return self._heard is not None and self._now() - self._well_at > WEDGED_S

    def excuse_silence(self) -> None:
        """While the bus is away nobody is heard, and that proves nothing about the engine."""
        self._well_at = self._now()

    async def keep(self) -> None:
        wait_s = FIRST_WAIT_S
        self._process = await self._adopted()
        while True:
            if self._process is None:
                await self._start()
            born = time.monotonic()
            why = await self._end_of_life()
            await self._mourn(why)
            wait_s = FIRST_WAIT_S if time.monotonic() - born > STEADY_S else wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def stop(self) -> None:
        if self._process is None:
            return
        await self._process.stop(GRACE_S)
        await self._say_gone("stopped")
        await self._event("stopped")
        try:
            await self._records.delete(self.engine)
        except BusError as error:
            log.warning("the record of %s stays: %s", self.engine, error)

    async def _adopted(self) -> EngineProcess | None:
        found = await self._records.get(self.engine)
        process = EngineProcess.adopt(found[0]) if found else None
        if process is not None:
            log.info("adopted %s, pid %d", self.engine, process.pid)
            self._well_at = self._now()
            await self._event("adopted")
        return process

    async def _start(self) -> None:
        self._boot = fresh()
        self._heard = None
        await self._event("starting")
        self._process = await EngineProcess.start(
            {
                "ODYSSAI_ENGINE": self.engine,
                "ODYSSAI_NODE": self._node,
                "ODYSSAI_SOURCE": self._source,
                "ODYSSAI_BOOT": self._boot,
            },
            self._log,
        )
        self._well_at = self._now()
        record = EngineRecord(
            engine=self.engine,
            node=self._node,
            pid=self._process.pid,
            started_s=self._process.started_s,
            source=self._source,
        )
        await self._write_down(record)

    async def _write_down(self, record: EngineRecord) -> None:
        """Not before it is done: of an engine without a record a later agent knows nothing."""
        while True:
            try:
                before = await self._records.get(self.engine)
                kept = before[0].models if before else ()
                await self._records.put(self.engine, _with_models(record, kept))
            except BusError as error:
                log.warning("no record of %s yet: %s", self.engine, error)
                await asyncio.sleep(RECORD_AGAIN_S)
            else:
                return

    async def _end_of_life(self) -> str:
        """Wait until the process ends, ending it if it no longer makes progress."""
        assert self._process is not None, "only a started engine can end"
        life = asyncio.ensure_future(self._process.ended())
        try:
            while not (await asyncio.wait({life}, timeout=1.0))[0]:
                if not self._host.bus.is_connected:
                    self.excuse_silence()
                elif self.is_wedged():
                    log.error("%s makes no progress for %g s: ending it", self.engine, WEDGED_S)
                    self._process.signal(signal.SIGKILL)
            return await life
        finally:
            life.cancel()

    async def _mourn(self, why: str) -> None:
        self._process = None
        words = last_words(self._log) if self._log.exists() else ""
        log.error("engine %s ended: %s; %s", self.engine, why, words)
        await self._say_gone(why)
        await self._event("restarting", f"{why}: {words}")

    async def note_readiness(self) -> None:
        """Write down what each life of the engine serves, once it does."""
        while True:
            await self._note(await self._ready.get())

    async def _note(self, beat: EngineBeat) -> None:
        await self._event("ready")
        names = tuple(name for card in beat.models for name in (card.id, *card.aliases))
        try:
            found = await self._records.get(self.engine)
            if found is not None and found[0].pid == beat.pid:
                await self._records.swap(self.engine, _with_models(found[0], names), found[1])
        except Conflict:
            log.info("the record of %s was renewed meanwhile", self.engine)
        except BusError as error:
            log.warning("the record of %s lacks its models: %s", self.engine, error)

    async def _say_gone(self, why: str) -> None:
        await farewell(
            self._host.bus, Gone(kind="engine", id=self.engine, boot=self._boot, why=why)
        )

    async def _event(self, phase: Phase, detail: str = "") -> None:
        event = EngineEvent(
            engine=self.engine,
            node=self._node,
            model=self._source,
            phase=phase,
            detail=detail,
            at_s=time.time(),
        )
        await self._host.bus.publish(EVENT_TELEMETRY, event, self.engine)


def _with_models(record: EngineRecord, names: tuple[str, ...]) -> EngineRecord:
    return msgspec.structs.replace(record, models=tuple(ModelId(name) for name in names))
