"""A whole mesh to be broken: every process supervised as `odyssai up` does, several of each."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bus.home import private_folder
from ops import probe
from ops.bench._chaos.client import Door
from ops.bench._chaos.pipe import HOST, Carrier
from ops.bench._chaos.presence import Presence
from ops.bench._chaos.roles import (
    BEHIND_LINKS,
    BUS,
    BUSES,
    GATEWAYS,
    NODES,
    Role,
    holder_of,
    roles,
)
from ops.bench._chaos.servers import Servers, one, three
from ops.bench._chaos.upstream import upstream
from ops.bench._children import ROOT, NotStarted, free_port
from ops.bench._report import say
from ops.child import Child, Program
from ops.journal import Journal
from ops.listening import listen

START_S = 180.0
"""A bundled model is unpacked on its first use."""
BUS_START_S = 30.0
LOOK_S = 0.05
GRACE_S = 12.0


@dataclass(frozen=True)
class Member:
    """A program that is kept running."""

    name: str
    child: Child
    journal: Journal

    @property
    def pid(self) -> int | None:
        """Of the program itself, below the leash if it has one."""
        pid = self.child.pid
        if pid is None or not self.child.program.needs_leash:
            return pid
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(pid).children():
                if process.name() == BUS:
                    return int(process.pid)
        return None


class World:
    """All of it, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = ""
        """As clients call it."""
        self.members: dict[str, Member] = {}
        self.links: dict[str, Carrier] = {}
        """To the bus."""
        self.balancer: Carrier
        self.door: Door
        self.presence: Presence
        self.gateway_ports = {name: free_port() for name in GATEWAYS}
        self._doomed: set[int] = set()
        """Processes that were ended, or are to be."""
        self._lifeline, self._held = os.pipe()
        self._keeping: list[asyncio.Task[None]] = []
        self._logs = private_folder(folder / "logs")
        self._servers: Servers

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, model: str, servers: int) -> "AsyncIterator[World]":
        """Whole, and ready to be asked. Raises NotStarted."""
        world = cls(folder)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(world._end)
            upstream_url = await stack.enter_async_context(upstream())
            bus = three(folder / "bus") if servers == len(BUSES) else one(folder / "bus")
            world._servers = stack.enter_context(bus)
            await world._start_bus()
            await world._start_links(stack)
            held = stack.enter_context(listen(HOST, world.gateway_ports[GATEWAYS[0]]))
            for role in roles(model, world.gateway_ports, held, upstream_url):
                world._start(role)
            following = Presence.follow(world._servers.url)
            world.presence = await stack.enter_async_context(following)
            await world.until_whole(START_S)
            world.model = await world._served_model()
            world.door = Door(world.balancer.port)
            key = await world.make_key("chaos", "inference", "models", "admin")
            world.door = Door(world.balancer.port, key)
            yield world

    async def _start_bus(self) -> None:
        for program in self._servers.programs:
            self._keep(program)
        began = time.monotonic()
        while not await self._servers.are_there():
            if time.monotonic() - began > BUS_START_S:
                raise NotStarted("the bus does not answer")
            await asyncio.sleep(LOOK_S)

    async def _start_links(self, stack: AsyncExitStack) -> None:
        self.balancer = Carrier(list(self.gateway_ports.values()))
        self.links = {name: Carrier(self._servers.ports) for name in BEHIND_LINKS}
        for carrier in (self.balancer, *self.links.values()):
            await carrier.start()
            stack.push_async_callback(carrier.close)

    def _environment(self, name: str, told: Mapping[str, str]) -> dict[str, str]:
        ours = ("ODYSSAI_", "OPENAI_", "OPENROUTER_", "OTEL_")
        plain = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        home = self.folder / ("home" if name not in NODES else name)
        holder = holder_of(name)
        link = self.links.get(name)
        servers = self._servers
        url = servers.behind(holder, link.port) if link else servers.url(holder)
        return {
            **plain,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "ODYSSAI_NATS": url,
            "ODYSSAI_HOME": str(private_folder(home)),
            "ODYSSAI_LOG": "info",
            **told,
        }

    def _start(self, role: Role) -> None:
        self._keep(
            Program(
                role.name,
                (sys.executable, "-m", role.module),
                self._environment(role.name, role.told),
                role.inherits,
                renews_in_place=role.name in NODES,
            )
        )

    def _keep(self, program: Program) -> None:
        journal = Journal(self._logs / f"{program.name}.log")
        child = Child(program, journal, self._lifeline, lambda line: None)
        self.members[program.name] = Member(program.name, child, journal)
        self._keeping.append(asyncio.create_task(child.keep()))

    # What faults do

    def pid(self, name: str) -> int | None:
        """Of a member, or of ``engine NODE``."""
        kind, _, node = name.partition(" ")
        return self.presence.engine_pid(node) or None if node else self.members[kind].pid

    def send(self, name: str, number: signal.Signals) -> int | None:
        """To a member or an engine; the process that got it, None where there is none."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                return pid
        return None

    def end(self, name: str, number: signal.Signals) -> None:
        """The mesh is whole again when another process has taken its place."""
        pid = self.send(name, number)
        if pid is not None:
            self._doomed.add(pid)

    async def order(self, what: str, node: str) -> None:
        """``load`` or ``unload`` the model on a node, and wait until that is done."""
        body = {"model": self.model, "nodes": [node], "wait": True}
        await self.door.order("POST", f"/admin/models/{what}", body)

    async def make_key(self, name: str, *scopes: str) -> str:
        made = await self.door.order("POST", "/admin/keys", {"name": name, "scopes": scopes})
        return str(made["key"])

    async def revoke_key(self, name: str) -> None:
        await self.door.order("DELETE", f"/admin/keys/{name}")

    # Whether it is whole

    def missing(self) -> list[str]:
        """Who is not there, or does not do its work."""
        presence = self.presence
        silent = [name for name, member in self.members.items() if self._is_silent(member)]
        idle = [
            f"engine {node}"
            for node in NODES
            if not presence.serves(node) or presence.engine_pid(node) in self._doomed
        ]
        return silent + idle

    def _is_silent(self, member: Member) -> bool:
        """Bus servers have no heartbeat: they greet who knocks."""
        if member.child.program.needs_leash:
            return False
        return member.pid in self._doomed or not self.presence.hears(member.pid)

    async def until_whole(self, within_s: float) -> float:
        """Seconds until nobody was missing and all gateways were ready. Raises NotStarted."""
        began = time.monotonic()
        while self.missing() or not await self._is_ready():
            if time.monotonic() - began > within_s:
                missing = ", ".join(self.missing()) or "a gateway that is ready, or a bus server"
                raise NotStarted(f"still missing after {within_s:g} s: {missing}")
            await asyncio.sleep(LOOK_S)
        return time.monotonic() - began

    async def _is_ready(self) -> bool:
        return await self._servers.are_there() and await self._gateways_are_ready()

    async def _gateways_are_ready(self) -> bool:
        for port in self.gateway_ports.values():
            if (await probe.fetch(HOST, port, "/ready"))[0] != 200:
                return False
        return True

    async def _served_model(self) -> str:
        (engine,) = self.presence.engines(NODES[0])
        return str(engine.models[0].id)

    def processes(self) -> dict[str, int]:
        """All that live, by name."""
        names = [*self.members, *(f"engine {node}" for node in NODES)]
        pids = {name: self.pid(name) for name in names}
        return {name: pid for name, pid in pids.items() if pid is not None}

    async def _end(self) -> None:
        for name, member in self.members.items():
            self.send(name, signal.SIGCONT)
            if not name.startswith(BUS):
                member.child.stop()
        for node in NODES if hasattr(self, "presence") else ():
            self.send(f"engine {node}", signal.SIGCONT)
        say("chaos: ending the mesh")
        others = self._keeping[len(self._servers.programs) :]
        if others:
            await asyncio.wait(others, timeout=GRACE_S)
        for member in self.members.values():
            member.child.kill()
        os.close(self._held)
        await asyncio.gather(*self._keeping, return_exceptions=True)
        os.close(self._lifeline)
        for member in self.members.values():
            member.journal.close()
