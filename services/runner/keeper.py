"""One engine's life: adopted or started, watched, started again, given up, stopped."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bus.presence import farewell
from proto.errors import MeshError
from proto.ids import NodeId, fresh
from proto.plan import Placement, Quarantine
from proto.presence import HEARTBEAT_S, STALL_S, EngineBeat, EnginePhase, EngineStatus, Gone
from proto.state import EngineRecord
from proto.telemetry import Phase
from services.host import Host
from services.runner.engine_log import EngineLog
from services.runner.event import tell
from services.runner.process import EngineProcess
from services.runner.quarantine import Crashes
from services.runner.records import Records
from services.runner.store.store import ModelStore

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Restarts wait ever longer, so that a model that cannot load does not burn the node."""
STEADY_S = 30.0
"""An engine that lived this long starts over with the first wait."""
WEDGED_S = 10.0
"""An engine out of rotation this long, silent or without a step, is ended and started again."""
GRACE_S = 5.0
LOOK_S = 1.0
FILES_AGAIN_S = 30.0
"""A model that cannot be had is looked for again after so long, or when its placement changes."""
KNOWN_S = 2 * HEARTBEAT_S
"""By then everybody has heard that an engine takes nothing new."""
RENEWAL_S = 600.0
"""How long running requests hold up an engine that is to be started anew."""

GiveUp = Callable[[Placement, Quarantine], Awaitable[None]]


@dataclass(frozen=True)
class Desk:
    """What all keepers of a node share."""

    host: Host
    node: NodeId
    records: Records
    store: ModelStore
    give_up: GiveUp
    """Takes a placement out of the plan for good, and writes down why."""
    crash_limit: int
    now: Callable[[], float] = time.monotonic


class Keeper:
    """Keeps the engine of one placement until it is let go."""

    def __init__(self, desk: Desk, placement: Placement) -> None:
        self.placement = placement
        self._desk = desk
        self._now = desk.now
        self._phase: EnginePhase = "waiting"
        self._detail = ""
        self._process: EngineProcess | None = None
        self._is_recorded = False
        self._life = placement.life
        """The placement's, when the process was started."""
        self._boot = ""
        """Of the process; empty: it was adopted, and not heard yet."""
        self._heard: EngineBeat | None = None
        self._ready: asyncio.Queue[EngineBeat] = asyncio.Queue()
        self._well_at = self._now()
        self._crashes = Crashes(desk.crash_limit)
        self._log = EngineLog(desk.host.home / "logs" / f"engine-{placement.engine}.log")
        self._changed = asyncio.Event()
        self._let_go = asyncio.Event()

    # What it is told

    def update(self, placement: Placement) -> None:
        """The plan says something else of the same engine."""
        if self._phase == "quarantined" and placement.placed_s != self.placement.placed_s:
            self.let_go()  # Another has taken the place of the one that was given up.
        self.placement = placement
        self._changed.set()

    def let_go(self) -> None:
        self._let_go.set()

    def hear(self, beat: EngineBeat) -> None:
        if self._boot not in ("", beat.boot):
            return  # Of the life before, on its way when that ended.
        was_ready = self._heard is not None and self._heard.state == "ready"
        self._heard, self._boot = beat, beat.boot
        if beat.stalled_s < STALL_S:  # At work it is never quite zero.
            self._well_at = self._now()
        if beat.state == "ready" and not was_ready:
            self._ready.put_nowait(beat)

    # What it tells

    def status(self) -> EngineStatus:
        return EngineStatus(
            engine=self.placement.engine,
            model=self.placement.model,
            phase=self._shown_phase(),
            detail=self._detail,
            crashes=self._crashes.count(self._now()),
            life=self._life if self._process is not None else self.placement.life,
        )

    def _shown_phase(self) -> EnginePhase:
        if self._phase != "starting" or self._heard is None:
            return self._phase
        if self._heard.state == "ready" and (self.placement.is_draining or self._is_outdated):
            return "draining"
        return self._heard.state

    @property
    def memory_bytes(self) -> int:
        """What the process takes now, by its own word."""
        return self._heard.memory_bytes if self._heard is not None and self._process else 0

    def is_wedged(self) -> bool:
        """It was heard once, and has been silent or without a step for ``WEDGED_S``."""
        return self._heard is not None and self._now() - self._well_at > WEDGED_S

    def excuse_silence(self) -> None:
        """While the bus is away nobody is heard, and that proves nothing about the engine."""
        self._well_at = self._now()

    @property
    def _is_outdated(self) -> bool:
        return self.placement.life > self._life

    # The engine's life

    async def run(self) -> None:
        """Keep it until it is let go, then stop it. Cancelled, it leaves the engine running."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self._keep()),
                    tasks.create_task(self._note_readiness()),
                ]
                await self._let_go.wait()
                for task in work:
                    task.cancel()
        except asyncio.CancelledError:
            await self._leave_nothing_unknown()
            raise
        await self._stop()
        await self._desk.records.forget(self.placement.engine)

    async def _keep(self) -> None:
        """Returns when the model is given up."""
        self._process = await self._adopted()
        pause_s = FIRST_WAIT_S
        while True:
            if self._process is None:
                await self._until_files_are_right()
                await self._start()
            born = self._now()
            why = await self._end_of_life()
            if why is None:
                await self._stop()
                continue
            await self._mourn(why)
            if self._crashes.are_too_many(self._now()):
                return await self._give_up()
            pause_s = FIRST_WAIT_S if self._now() - born > STEADY_S else pause_s
            await self._event("restarting", self._detail)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_WAIT_S)

    async def _adopted(self) -> EngineProcess | None:
        record = await self._desk.records.find(self.placement.engine)
        process = EngineProcess.adopt(record) if record else None
        if process is not None and record is not None:
            log.info("adopted %s, pid %d", record.engine, process.pid)
            self._phase, self._life, self._is_recorded = "starting", record.life, True
            self._well_at = self._now()
            self._log.mark()
            await self._event("adopted")
        return process

    async def _until_files_are_right(self) -> None:
        while (trouble := await self._trouble_with_files()) is not None:
            if (self._phase, self._detail) != ("refused", trouble):
                self._phase, self._detail = "refused", trouble
                await self._event("refused", trouble)
            await self._change(FILES_AGAIN_S)
        self._detail = ""

    async def _trouble_with_files(self) -> str | None:
        """They are fetched if they are not here; others than were placed are not loaded."""
        placement, store = self.placement, self._desk.store
        if store.find(placement.source) is None and self._phase != "refused":
            self._phase = "fetching"
        try:
            stored = await store.ensure(placement.source)
        except MeshError as error:
            return error.message
        if placement.fingerprint in ("", stored.fingerprint):
            return None
        return (
            f"the files of {placement.model} on {self._desk.node} are not those that were placed "
            f"({stored.fingerprint[:12]}, not {placement.fingerprint[:12]}); odyssai sync or pull "
            "again"
        )

    async def _change(self, within_s: float) -> None:
        """Return when the placement has changed, or after a while."""
        self._changed.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _start(self) -> None:
        self._boot, self._heard, self._is_recorded = fresh(), None, False
        self._phase, self._detail, self._life = "starting", "", self.placement.life
        await self._event("starting")
        starting = asyncio.ensure_future(EngineProcess.start(self._environment(), self._log))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:  # A process that nobody knows would run for ever.
            self._process = await starting
            raise
        self._well_at = self._now()
        await self._desk.records.write(self._record_of(self._process))
        self._is_recorded = True

    def _environment(self) -> dict[str, str]:
        """Nothing of KV caches for a model that keeps none."""
        placement, grant = self.placement, self.placement.grant
        told = {
            "ODYSSAI_ENGINE": placement.engine,
            "ODYSSAI_NODE": self._desk.node,
            "ODYSSAI_SOURCE": placement.source,
            "ODYSSAI_BOOT": self._boot,
            "ODYSSAI_CONTEXT": str(grant.context),
        }
        if placement.slots is not None:
            told["ODYSSAI_SLOTS"] = str(placement.slots)
        if grant.kv_bytes:
            told["ODYSSAI_KV_TOKENS"] = str(grant.kv_tokens)
            told["ODYSSAI_KV_BYTES"] = str(grant.kv_bytes)
        return told

    def _record_of(self, process: EngineProcess) -> EngineRecord:
        return EngineRecord(
            engine=self.placement.engine,
            node=self._desk.node,
            pid=process.pid,
            started_s=process.started_s,
            source=self.placement.source,
            life=self._life,
        )

    async def _end_of_life(self) -> str | None:
        """Wait until the process ends, ending it if it no longer makes progress.

        None: it is to be started anew, and nothing runs there any more.
        """
        assert self._process is not None, "only a started engine can end"
        life = asyncio.ensure_future(self._process.ended())
        outdated_at = self._now()
        verdict = ""
        try:
            while not (await asyncio.wait({life}, timeout=LOOK_S))[0]:
                if not self._desk.host.bus.is_connected:
                    self.excuse_silence()
                elif self.is_wedged():
                    verdict = f"ended by its agent: no progress for {WEDGED_S:g} s"
                    self._process.signal(signal.SIGKILL)
                if not self._is_outdated:
                    outdated_at = self._now()
                elif self._may_end(outdated_at):
                    return None
            return verdict or await life
        finally:
            life.cancel()

    def _may_end(self, outdated_at: float) -> bool:
        """Everybody knows that it takes nothing new, and nothing has run since."""
        since_s, heard = self._now() - outdated_at, self._heard
        is_idle = heard is None or heard.state != "ready" or heard.idle_s > KNOWN_S
        return (is_idle and since_s > KNOWN_S) or since_s > RENEWAL_S

    async def _mourn(self, why: str) -> None:
        self._process = None
        self._crashes.note(self._now())
        self._phase, self._detail = "crashed", self._log.last_words(why)
        log.error("engine %s ended: %s", self.placement.engine, self._detail)
        await self._say_gone(why)

    async def _give_up(self) -> None:
        self._phase = "quarantined"
        await self._event("quarantined", self._detail)
        quarantine = Quarantine(
            model=self.placement.model,
            source=self.placement.source,
            reason=self._detail,
            crashes=self._crashes.count(self._now()),
            at_s=time.time(),
        )
        await self._desk.give_up(self.placement, quarantine)

    async def _stop(self) -> None:
        if self._process is not None:
            self._phase = "stopping"
            await self._process.stop(GRACE_S)
            self._process = None
            await self._say_gone("stopped")
            await self._event("stopped")

    async def _leave_nothing_unknown(self) -> None:
        """Of an engine without a record the agent's next life would know nothing."""
        if self._process is not None and not self._is_recorded:
            await self._process.stop(GRACE_S)

    async def _note_readiness(self) -> None:
        """Write down what each life of the engine serves, once it does."""
        while True:
            beat = await self._ready.get()
            await self._event("ready")
            await self._desk.records.note_models(beat)

    async def _say_gone(self, why: str) -> None:
        gone = Gone(kind="engine", id=self.placement.engine, boot=self._boot, why=why)
        await farewell(self._desk.host.bus, gone)

    async def _event(self, phase: Phase, detail: str = "") -> None:
        await tell(self._desk.host.bus, self._desk.node, self.status(), phase, detail)
