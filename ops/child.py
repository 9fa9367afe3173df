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
from ops.life import Life

FIRST_RESTART_S = 0.1
LONGEST_RESTART_S = 10.0
HEALTHY_S = 30.0
"""Alive this long, a program's next end counts as its first."""
CRASH_LOOP = 3
"""Ends in a row after which the operator is told why."""
RENEWAL_S = 60.0
"""How long a new life may take until it serves."""
HAND_OVER = signal.SIGUSR1
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
    renews_in_place: bool = False
    """Told to hand over, it starts itself anew; of others a successor is started beside them."""


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


class NotRenewed(Exception):
    """A program goes on as it was; the message says why."""


class Child:
    """A program and its present process, and those before it that still finish what they have."""

    def __init__(
        self, program: Program, journal: Journal, lifeline: int, tell: Callable[[str], None]
    ) -> None:
        self.program = program
        self._journal = journal
        self._lifeline = lifeline
        self._tell = tell
        self._backoff = Backoff(program.first_restart_s)
        self._life: Life | None = None
        self._lives = 0
        self._retired: dict[Life, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that serves; None while none runs."""
        life = self._life
        return life.process.pid if life is not None and not life.has_ended else None

    async def keep(self) -> None:
        """Start it, and again whenever it ends, until ``stop`` or ``kill``."""
        while not self._stopping.is_set():
            started_s = time.monotonic()
            status = await self._live()
            if self._stopping.is_set():
                break
            delay_s = self._backoff.after(time.monotonic() - started_s)
            self._complain(status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
        await asyncio.gather(*self._retired.values())

    async def renew(self) -> None:
        """Another life. The one before ends when that serves and it has finished what it has.

        Raises NotRenewed.
        """
        life = self._life
        if life is None or life.has_ended or self._stopping.is_set():
            raise NotRenewed(f"{self.program.name} is not running now; it is being started")
        if self.program.renews_in_place:
            life.forget_signs()
            life.send(HAND_OVER)
            if not await life.serves(RENEWAL_S):
                raise NotRenewed(self._unserved())
            return
        successor = await self._begin()
        serves = await successor.serves(RENEWAL_S)
        if not serves or self._life is not life or life.has_ended or self._stopping.is_set():
            successor.sweep()
            await successor.ended()
            raise NotRenewed(self._unserved())
        self._life = successor
        self._retired[life] = asyncio.create_task(self._bury(life))
        life.send(HAND_OVER)

    def restart(self) -> None:
        """Ask its process to end; another is started, as after any end."""
        if self._life is not None and not self._life.has_ended:
            self._life.send(signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()
        for life in self._living():
            life.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever runs in its process group, now."""
        self._stopping.set()
        for life in self._living():
            life.sweep()

    def _living(self) -> list[Life]:
        lives = [*self._retired, *([self._life] if self._life else [])]
        return [life for life in lives if not life.has_ended]

    async def _bury(self, life: Life) -> None:
        await life.ended()
        life.sweep()
        del self._retired[life]

    async def _live(self) -> int:
        """Until its last process ends that no other has succeeded."""
        try:
            life = self._life = await self._begin()
        except OSError as error:
            self._journal.tail.append(f"{self.program.argv[0]}: {error.strerror}")
            return _NOT_STARTED
        if self._stopping.is_set():
            life.send(signal.SIGTERM)
        status = await life.ended()
        while life is not self._life:
            life = self._life
            status = await life.ended()
        # A shell that was killed leaves its program behind; a service that crashed leaves
        # engines, which its next life adopts. At once, before the number is somebody else's.
        if self.program.needs_leash or self._stopping.is_set():
            life.sweep()
        return status

    async def _begin(self) -> Life:
        program, environment = self.program, dict(self.program.environment)
        if self._lives:
            environment["ODYSSAI_AGAIN"] = "1"
        self._lives += 1
        if program.needs_leash:
            return await Life.begin(
                (*_LEASH, *program.argv),
                environment,
                program.inherits,
                self._lifeline,
                self._journal.inlet,
            )
        environment["ODYSSAI_LIFELINE_FD"] = str(self._lifeline)
        inherits = (self._lifeline, *program.inherits)
        return await Life.begin(
            program.argv, environment, inherits, asyncio.subprocess.DEVNULL, self._journal.inlet
        )

    def _unserved(self) -> str:
        return (
            f"{self.program.name} did not begin to serve anew within {RENEWAL_S:g} s; the one "
            f"before goes on. {self._journal.path} has more"
        )

    def _complain(self, status: int) -> None:
        """Each end is told until there is a reason to tell; that is told once."""
        name, failures = self.program.name, self._backoff.failures
        if status == os.EX_CONFIG:
            if failures == 1:
                why = self._journal.tail[-1] if self._journal.tail else _spelled(status)
                self._tell(f"{name} cannot start, and tries again by itself: {why}")
        elif failures < CRASH_LOOP:
            self._tell(f"{name} ended ({_spelled(status)}); starting it again")
        elif failures == CRASH_LOOP:
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
