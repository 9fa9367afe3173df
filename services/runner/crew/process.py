"""Engine processes as the operating system knows them: by pid and boot, never by name."""

import asyncio
import os
import signal
import sys

import psutil

from proto.state import EngineRecord
from services.runner.crew.engine_log import EngineLog

LOOK_S = 0.2
"""How often a process that is not our child is looked at."""
SAME_START_S = 0.05
"""Two readings of one process's start time differ by rounding only."""
BOOT = "ODYSSAI_BOOT"
"""The variable that tells a process which life of its engine it is."""


class EngineProcess:
    """One life of an engine, started by this agent or by one before it."""

    def __init__(self, pid: int, child: asyncio.subprocess.Process | None = None) -> None:
        self.pid = pid
        self._child = child
        self._process = _process(pid)

    @property
    def started_s(self) -> float:
        """Unix time at which it began, by the clock as it is set now."""
        return self._process.create_time() if self._process else 0.0

    @classmethod
    async def start(cls, environment: dict[str, str], log: EngineLog) -> "EngineProcess":
        """A new engine process; it inherits the supervisor's lifeline, so it outlives only us."""
        with log.open() as out:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.runner.engine",
                env={**os.environ, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=_lifeline(),
            )
        return cls(child.pid, child)

    @classmethod
    def adopt(cls, record: EngineRecord) -> "EngineProcess | None":
        """The process of a record, if it still is the one the record speaks of."""
        process = cls(record.pid)
        if process._is_alive() and process._is_of(record):
            return process
        _bury(record.pid)
        return None

    async def ended(self) -> str:
        """Wait for its end; what the system says of it."""
        if self._child is not None:
            return _spelled(await self._child.wait())
        while self._is_alive():
            await asyncio.sleep(LOOK_S)
        status = _bury(self.pid)
        return "ended" if status is None else _spelled(status)

    def signal(self, sign: signal.Signals) -> None:
        if self._is_alive():
            os.kill(self.pid, sign)

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, then make it."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.ended()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()

    def _is_alive(self) -> bool:
        process = self._process
        try:
            return bool(
                process and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def _is_of(self, record: EngineRecord) -> bool:
        """By the boot that it was started with; by its start time only where the system does not
        tell that, since Linux reckons that time from a clock that may have been set meanwhile.
        """
        assert self._process, "it is alive"
        try:
            boot = self._process.environ().get(BOOT)
        except psutil.Error:
            boot = None
        if record.boot and boot is not None:
            return boot == record.boot
        return abs(self.started_s - record.started_s) <= SAME_START_S


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _bury(pid: int) -> int | None:
    """The status of a process that has ended, for one that an earlier life of this agent started.

    None: it was no child of ours, or is buried already.
    """
    try:
        buried, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if buried else None


def _spelled(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _lifeline() -> tuple[int, ...]:
    lifeline = os.environ.get("ODYSSAI_LIFELINE_FD")
    return (int(lifeline),) if lifeline else ()
