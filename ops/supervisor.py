"""Keeps a bus server and the services on it running, and ends them in order.

Nobody outlives it. While it runs it holds the writing end of a pipe, the
lifeline; every process below it holds the reading end and leaves at its end,
which the system brings about even when the supervisor is killed.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.child import Child, NotRenewed, Program
from ops.journal import Journal
from ops.store_room import StoreRoom

GRACE_S = 10.0
"""From the request to end until what still runs is killed; a gateway drains meanwhile."""


class BusSilent(Exception):
    """The bus server was started but does not answer."""


@dataclass(frozen=True)
class BusProgram:
    program: Program
    answers: Callable[[], Coroutine[None, None, bool]]
    """Waits until the server answers; False when it does not in time."""
    store: Path | None = None
    """Where it keeps state; None: nobody looks after the room there."""


class Supervisor:
    """One run of a mesh on this machine; ``run`` returns when all have ended."""

    def __init__(
        self,
        services: Sequence[Program],
        bus: BusProgram | None,
        logs: Path,
        tell: Callable[[str], None],
        echo: Callable[[str, str], None] | None = None,
    ) -> None:
        """``tell`` is for the operator; ``echo`` hears every line of every program, by name."""
        self._services = services
        self._bus = bus
        self._logs = logs
        self._tell = tell
        self._echo = echo
        self._stopping = asyncio.Event()
        self._children: list[Child] = []
        self._room = StoreRoom(bus.store, tell) if bus and bus.store else None

    async def renew(self, name: str) -> None:
        """A new life of one service, without a moment in which none serves. Raises NotRenewed."""
        child = next((c for c in self._children if c.program.name == name), None)
        if child is None or child.program.needs_leash:
            raise NotRenewed(f"{name} does not run here")
        await child.renew()

    def stop(self) -> None:
        """End all in order. The second time: at once."""
        if self._stopping.is_set():
            for child in self._children:
                child.kill()
        self._stopping.set()

    async def run(self, *when_started: Callable[[], Coroutine[None, None, None]]) -> None:
        """``when_started`` runs beside the services, is cancelled at the end. Raises BusSilent."""
        with contextlib.ExitStack() as stack:
            lifeline, held = os.pipe()
            stack.callback(os.close, held)
            stack.callback(os.close, lifeline)
            stack.callback(self._kill_all)
            bus = self._adopt([self._bus.program] if self._bus else [], lifeline, stack)
            services = self._adopt(self._services, lifeline, stack)
            async with asyncio.TaskGroup() as tasks:
                server = [tasks.create_task(child.keep()) for child in bus]
                is_up = await self._bus_is_up()
                if is_up:
                    keeping = [tasks.create_task(child.keep()) for child in services]
                    beside = [tasks.create_task(work()) for work in when_started]
                    if self._room:
                        beside.append(tasks.create_task(self._room.keep(bus[0].restart)))
                    await self._stopping.wait()
                    for task in beside:
                        task.cancel()
                    await _end(services, keeping)
                await _end(bus, server)
            if not is_up and not self._stopping.is_set():
                raise BusSilent(f"the bus server does not answer; see {self._logs}")

    def _adopt(
        self, programs: Iterable[Program], lifeline: int, stack: contextlib.ExitStack
    ) -> list[Child]:
        children = []
        for program in programs:
            journal = Journal(self._logs / f"{program.name}.log", self._echo_of(program))
            stack.callback(journal.close)
            children.append(Child(program, journal, lifeline, self._tell))
        self._children += children
        return children

    def _echo_of(self, program: Program) -> Callable[[str], None] | None:
        echo, room = self._echo, self._room
        hears = room.hear if room and self._bus and program is self._bus.program else None
        if echo is None:
            return hears

        def hear(line: str) -> None:
            echo(program.name, line)
            if hears:
                hears(line)

        return hear

    async def _bus_is_up(self) -> bool:
        if self._bus is None:
            return True
        stopped = asyncio.create_task(self._stopping.wait())
        answered = asyncio.create_task(self._bus.answers())
        await asyncio.wait({stopped, answered}, return_when=asyncio.FIRST_COMPLETED)
        is_up = answered.done() and answered.result()
        stopped.cancel()
        answered.cancel()
        return is_up

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()


async def _end(children: Sequence[Child], keeping: Sequence[asyncio.Task[None]]) -> None:
    if not keeping:
        return
    for child in children:
        child.stop()
    await asyncio.wait(keeping, timeout=GRACE_S)
    for child in children:
        child.kill()
    await asyncio.wait(keeping)
