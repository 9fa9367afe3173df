"""What every service process needs: settings, signals, a lifeline, the bus, the last word."""

import asyncio
import gc
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import uvloop

from bus import tracing
from bus.connection import Bus
from bus.errors import NotConnected, TurnedAway
from bus.presence import asyncio_tasks, beat, farewell
from proto.ids import fresh, service_id
from proto.presence import Gone, ServiceBeat
from proto.subjects import SERVICE_BEAT
from services.log import start as log_start
from services.log import uncaught

log = logging.getLogger(__name__)

T = TypeVar("T")

HANDOVER_S = 600.0
"""How long what runs may go on in a process that was succeeded."""
EXIT_NO_BUS = 69
"""EX_UNAVAILABLE: the supervisor tries again."""


def _version() -> str:
    try:
        return version("odyssai-mesh")
    except PackageNotFoundError:
        return "0.0.0+source"


VERSION = _version()


class SettingError(Exception):
    """A setting is missing or makes no sense; the message names the variable and the remedy."""


_SWITCH = {"1": True, "true": True, "0": False, "false": False}


def setting(name: str, default: str | None = None) -> str:
    """The value of an ``ODYSSAI_*`` variable. Raises SettingError if it is absent and needed."""
    value = os.environ.get(name, "") or default
    if value is None:
        raise SettingError(f"{name} is not set; start this service with `odyssai`, or set it")
    return value


def number(name: str, default: float, least: float = 0.0) -> float:
    """A numeric setting. Raises SettingError when it is no number or below ``least``."""
    text = setting(name, str(default))
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{name} must be a number, not {text!r}") from None
    if value < least:
        raise SettingError(f"{name} must be at least {least:g}, not {value:g}")
    return value


def switch(name: str) -> bool:
    """A setting that is on or off, off unless told. Raises SettingError."""
    text = setting(name, "0").lower()
    if text not in _SWITCH:
        raise SettingError(f"{name} must be 1 or 0, not {text!r}")
    return _SWITCH[text]


@dataclass
class Host:
    """One running service process."""

    service: str
    id: str
    bus: Bus
    home: Path
    boot: str = field(default_factory=fresh)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process was asked to end; a service then drains and returns."""
    has_successor: bool = False
    """Another process of this service serves already: what runs may take its time to finish."""
    hurrying: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it was asked to end within its grace, also after it was succeeded."""

    @property
    def credential(self) -> str:
        """Its name: what the bus server lets stand for us in subjects."""
        return self.bus.holder.name if self.bus.holder else self.service

    async def unless_stopped(self, work: Awaitable[T]) -> T | None:
        """Its result; None when the process is asked to end before there is one."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return working.result() if working.done() else None

    def ready(self) -> None:
        """Say to whoever started this process that it serves from now on."""
        sign = os.environ.get("ODYSSAI_READY_FD")
        if sign:
            with suppress(OSError):
                os.write(int(sign), b"\n")

    def end(self) -> None:
        self.hurrying.set()
        self.stopping.set()

    def hand_over(self) -> None:
        """As ``end``, without a hurry."""
        self.has_successor = True
        self.stopping.set()

    async def grace(self, work: Iterable[Awaitable[object]], grace_s: float) -> None:
        """Return when all of it is done, or its time is over.

        That is ``grace_s`` after the process was asked to end; after it was succeeded, HANDOVER_S.
        """
        done: asyncio.Future[object] = asyncio.ensure_future(_all(work))
        if self.has_successor:
            hurry: asyncio.Future[object] = asyncio.ensure_future(self.hurrying.wait())
            await asyncio.wait(
                {done, hurry}, timeout=HANDOVER_S, return_when=asyncio.FIRST_COMPLETED
            )
            hurry.cancel()
            grace_s = grace_s if self.hurrying.is_set() else 0.0
        await asyncio.wait({done}, timeout=grace_s)
        done.cancel()


async def _all(work: Iterable[Awaitable[object]]) -> None:
    await asyncio.gather(*map(asyncio.shield, work), return_exceptions=True)


Serve = Callable[[Host], Awaitable[None]]


def run(service: str, serve: Serve, id: str | None = None) -> None:
    """Run a service until it returns or is asked to stop. The process's only entry."""
    try:
        level = setting("ODYSSAI_LOG", "INFO").upper()
        log_start(service, level, shows_content=switch("ODYSSAI_LOG_CONTENT"))
        uvloop.run(_live(service, serve, id or fresh()))
    except (SettingError, NotConnected) as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is the whole story
        sys.exit(EXIT_NO_BUS if isinstance(error, NotConnected) else os.EX_CONFIG)


async def _live(service: str, serve: Serve, id: str) -> None:
    hold_lifeline()
    tracing.export(service)
    async with Bus.connect(setting("ODYSSAI_NATS"), f"{service}:{id}") as bus:
        host = Host(service=service, id=id, bus=bus, home=_home())
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(uncaught)
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, host.end)
        loop.add_signal_handler(signal.SIGUSR1, host.hand_over)
        refused = asyncio.Event()
        bus.on_refusal += [refused.set, host.end]
        gc.freeze()
        await serve(host)
        await bus.quiet()
        if refused.is_set():
            raise TurnedAway("the bus lets us in no longer: our credential was withdrawn")


def _home() -> Path:
    return Path(setting("ODYSSAI_HOME", "~/.odyssai")).expanduser()


def hold_lifeline() -> None:
    """End this process at once when the supervisor is gone, however it went.

    The supervisor alone holds the writing end of the pipe whose reading end is
    ODYSSAI_LIFELINE_FD; nobody ever writes, so readable means closed.
    """
    lifeline = os.environ.get("ODYSSAI_LIFELINE_FD")
    if lifeline:
        threading.Thread(target=_end_with, args=(int(lifeline),), daemon=True).start()


def _end_with(lifeline: int) -> None:
    # No business of the event loop: libuv makes what it watches non-blocking, which all holders
    # of the pipe share, and the leash of a restarted bus server would read an end at once.
    select.select([lifeline], [], [])
    os._exit(os.EX_OK)


async def present(host: Host, epoch: Callable[[], int] = lambda: 0) -> None:
    """Say every second that this service lives, and say farewell when it is stopped.

    ``epoch`` is that of the lease it holds, 0 while it holds none.
    """

    def describe() -> ServiceBeat:
        return ServiceBeat(
            service=host.service,
            id=host.id,
            boot=host.boot,
            pid=os.getpid(),
            epoch=epoch(),
            asyncio_tasks=asyncio_tasks(),
        )

    id = service_id(host.service, host.id)
    try:
        await beat(host.bus, id, (SERVICE_BEAT,), describe, lambda said: said.epoch)
    finally:
        gone = Gone(kind="service", id=id, boot=host.boot, why="stopped")
        await farewell(host.bus, gone)
