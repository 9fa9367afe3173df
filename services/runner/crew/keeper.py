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
from proto.presence import HEARTBEAT_S, EngineBeat, EnginePhase, EngineStatus, Gone
from proto.state import EngineRecord
from proto.telemetry import Phase
from services.host import Host
from services.runner.crew.engine_log import EngineLog
from services.runner.crew.engine_settings import environment
from services.runner.crew.event import tell
from services.runner.crew.meeting import BY_OTHERS, Meeting
from services.runner.crew.process import EngineProcess
from services.runner.crew.pulse import WEDGED_S, Pulse
from services.runner.crew.quarantine import Crashes
from services.runner.crew.records import Records
from services.runner.groups.diagnosis import diagnosed
from services.runner.store.store import ModelStore

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Restarts wait ever longer, so that a model that cannot load does not burn the node."""
STEADY_S = 30.0
"""An engine that lived this long starts over with the first wait."""
GRACE_S = 5.0
LOOK_S = 1.0
FILES_AGAIN_S = 30.0
"""A model that cannot be had is looked for again after so long, or when its placement changes."""
KNOWN_S = 2 * HEARTBEAT_S
"""By then everybody has heard that an engine takes nothing new."""
KILLED = "the system does that where memory runs out"
RANK_SILENCE_S = 3.0
"""By then the others of a group have given up a rank that is silent: it is of no use any more."""
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
        self._pulse = Pulse(desk.now)
        self._crashes = Crashes(desk.crash_limit)
        self._meeting = Meeting()
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
        self._pulse.hear(beat)

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
        """A process that was started is as far as it says itself."""
        state = self._pulse.state
        if self._phase != "starting" or state is None:
            return self._phase
        if state == "ready" and (self.placement.is_draining or self._is_outdated):
            return "draining"
        return state

    @property
    def memory_bytes(self) -> int:
        """What the process takes now, by its own word."""
        return self._pulse.memory_bytes if self._process is not None else 0

    @property
    def is_at_work(self) -> bool:
        """Its engine serves somebody, by its own word."""
        return self._process is not None and self._pulse.running > 0

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
            if why in BY_OTHERS or self._now() - born > STEADY_S:
                pause_s = FIRST_WAIT_S
            await self._event("restarting", self._detail)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_WAIT_S)

    async def _adopted(self) -> EngineProcess | None:
        record = await self._desk.records.find(self.placement.engine)
        process = EngineProcess.adopt(record) if record else None
        if process is not None and record is not None:
            log.info("adopted %s, pid %d", record.engine, process.pid)
            self._phase, self._life, self._is_recorded = "starting", record.life, True
            self._pulse.begin(boot="")
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
            if placement.draft is not None:
                await store.ensure(placement.draft.source)
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
        boot, self._is_recorded = fresh(), False
        self._pulse.begin(boot)
        placement, self._detail = self._meeting.way(self.placement)
        self._phase, self._life = "starting", placement.life
        await self._event("starting", self._detail)
        told = environment(placement, self._desk.node, boot)
        starting = asyncio.ensure_future(EngineProcess.start(told, self._log))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:  # A process that nobody knows would run for ever.
            self._process = await starting
            raise
        await self._desk.records.write(self._record_of(self._process))
        self._is_recorded = True

    def _record_of(self, process: EngineProcess) -> EngineRecord:
        return EngineRecord(
            engine=self.placement.engine,
            node=self._desk.node,
            pid=process.pid,
            started_s=process.started_s,
            source=self.placement.source,
            life=self._life,
            boot=self._pulse.boot,
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
                if self._desk.host.bus.ear.is_excused(LOOK_S):
                    self._pulse.excuse_silence()
                elif self._pulse.is_wedged(self._patience_s):
                    verdict = f"ended by its agent: no progress for {self._patience_s:g} s"
                    self._process.signal(signal.SIGKILL)
                if not self._is_outdated:
                    outdated_at = self._now()
                elif self._may_end(outdated_at):
                    return None
            return verdict or await life
        finally:
            life.cancel()

    @property
    def _patience_s(self) -> float:
        is_at_work = self.placement.group is not None and self._pulse.state == "ready"
        return RANK_SILENCE_S if is_at_work else WEDGED_S

    def _may_end(self, outdated_at: float) -> bool:
        """Everybody knows that it takes nothing new, and nothing has run since."""
        since_s = self._now() - outdated_at
        is_known = since_s > KNOWN_S and self._pulse.is_idle_for(KNOWN_S)
        return since_s > RENEWAL_S or (is_known and not self._follows_another)

    @property
    def _follows_another(self) -> bool:
        """A rank that the leader of its group may need: it ends when that does. What runs is known
        to the leader alone.
        """
        group = self.placement.group
        is_follower = group is not None and group.leader != self.placement.engine
        return is_follower and self._pulse.state == "ready"

    async def _mourn(self, why: str) -> None:
        self._process = None
        if why not in BY_OTHERS:
            self._crashes.note(self._now())
        self._meeting.has_ended(why, was_ready=self._pulse.state == "ready")
        said = diagnosed(self._log.last_words(why))
        self._phase, self._detail = "crashed", f"{said} ({KILLED})" if why == "SIGKILL" else said
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
            beat = await self._pulse.readiness()
            self._meeting.has_met()
            await self._event("ready")
            await self._desk.records.note_models(beat)

    async def _say_gone(self, why: str) -> None:
        gone = Gone(kind="engine", id=self.placement.engine, boot=self._pulse.boot, why=why)
        await farewell(self._desk.host.bus, gone)

    async def _event(self, phase: Phase, detail: str = "") -> None:
        await tell(self._desk.host.bus, self._desk.node, self.status(), phase, detail)
