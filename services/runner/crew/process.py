"""Engine processes as the operating system knows them: by pid and start time, never by name."""

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


class EngineProcess:
    """One life of an engine, started by this agent or by one before it."""

    def __init__(
        self, pid: int, started_s: float, child: asyncio.subprocess.Process | None
    ) -> None:
        self.pid = pid
        self.started_s = started_s
        self._child = child

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
        return cls(child.pid, _started(child.pid) or 0.0, child)

    @classmethod
    def adopt(cls, record: EngineRecord) -> "EngineProcess | None":
        """The process of a record, if it still is the one the record speaks of."""
        process = cls(record.pid, record.started_s, None)
        if not process._is_alive():
            _bury(record.pid)
            return None
        return process

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
        started = _started(self.pid)
        return started is not None and abs(started - self.started_s) <= SAME_START_S


def _started(pid: int) -> float | None:
    """When a process began, unix time; None if there is none, or only its corpse."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
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
