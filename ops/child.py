"""One program that is kept running: started, listened to, started again, ended."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.journal import Journal

FIRST_RESTART_S = 0.1
LONGEST_RESTART_S = 10.0
HEALTHY_S = 30.0
"""Alive this long, a program's next end counts as its first."""
CRASH_LOOP = 3
"""Ends in a row after which the operator is told why."""
_LEASH = ("/bin/sh", str(Path(__file__).with_name("leash.sh")))
_NOT_STARTED = 127
"""What a shell says of a program that cannot be run."""


@dataclass(frozen=True)
class Program:
    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[int, ...] = ()
    """Descriptors it is handed, besides the lifeline."""
    first_restart_s: float = FIRST_RESTART_S
    needs_leash: bool = False
    """It does not watch the lifeline, so a shell does it for it."""


class Backoff:
    """How long to wait before the next start: twice as long each time, a little by chance."""

    def __init__(self, first_s: float, chance: Callable[[], float] = random.random) -> None:
        self.failures = 0
        self._first_s = self._next_s = first_s
        self._chance = chance

    def after(self, lived_s: float) -> float:
        if lived_s >= HEALTHY_S:
            self.failures, self._next_s = 0, self._first_s
        delay_s = self._next_s
        self.failures += 1
        self._next_s = min(LONGEST_RESTART_S, 2 * delay_s)
        return delay_s * (0.8 + 0.4 * self._chance())


class Child:
    """A program and its present process.

    The process leads a session of its own: Ctrl-C in a terminal reaches the
    supervisor alone, which then ends all in order.
    """

    def __init__(
        self, program: Program, journal: Journal, lifeline: int, tell: Callable[[str], None]
    ) -> None:
        self.program = program
        self._journal = journal
        self._lifeline = lifeline
        self._tell = tell
        self._backoff = Backoff(program.first_restart_s)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of its present process; None between two of them."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep(self) -> None:
        """Start it, and again whenever it ends, until ``stop`` or ``kill``."""
        while not self._stopping.is_set():
            started_s = time.monotonic()
            status = await self._live()
            if self._stopping.is_set():
                return
            delay_s = self._backoff.after(time.monotonic() - started_s)
            self._complain(status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()
        if self._process and self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever runs in its process group, now."""
        self._stopping.set()
        if self._process and self._process.returncode is None:
            self._sweep(self._process)

    async def _live(self) -> int:
        try:
            self._process = await self._start()
        except OSError as error:
            self._journal.tail.append(f"{self.program.argv[0]}: {error.strerror}")
            return _NOT_STARTED
        if self._stopping.is_set():
            self._process.terminate()
        status = await self._process.wait()
        # A shell that was killed leaves its program behind; a service that crashed leaves
        # engines, which its next life adopts. At once, before the number is somebody else's.
        if self.program.needs_leash or self._stopping.is_set():
            self._sweep(self._process)
        return status

    async def _start(self) -> asyncio.subprocess.Process:
        program = self.program
        if program.needs_leash:
            argv, descriptors = (*_LEASH, *program.argv), program.inherits
            stdin, lifeline = self._lifeline, {}
        else:
            argv, descriptors = program.argv, (self._lifeline, *program.inherits)
            stdin, lifeline = (
                asyncio.subprocess.DEVNULL,
                {"ODYSSAI_LIFELINE_FD": str(self._lifeline)},
            )
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=self._journal.inlet,
            stderr=self._journal.inlet,
            env={**program.environment, **lifeline},
            pass_fds=descriptors,
            start_new_session=True,
        )

    def _sweep(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def _complain(self, status: int) -> None:
        name = self.program.name
        if self._backoff.failures != CRASH_LOOP:
            self._tell(f"{name} ended ({_spelled(status)}); starting it again")
            return
        last = "".join(f"\n  {line}" for line in self._journal.tail)
        self._tell(
            f"{name} ended {CRASH_LOOP} times in a row ({_spelled(status)}); still trying. "
            f"The end of {self._journal.path}:{last}"
        )


def _spelled(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
