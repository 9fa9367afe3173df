"""A fleet of machines on one: schedulers, agents and a gateway as processes of their own.

Each agent has a name, a home and a memory that it declares; model folders are
shared, as if every machine had them on disk.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bus.connection import Bus
from bus.errors import BusError
from proto.ids import NodeId
from proto.jobs import Job, Order, SteerJob, Submit
from proto.overview import LookAround, NodeView, Overview
from proto.presence import ServiceBeat
from proto.subjects import LOOK_AROUND, SERVICE_BEAT, STEER_JOB, SUBMIT
from tests.mesh.house import END_S, ROOT, environment, free_port

PATIENCE_S = 30.0
"""Far more than it takes: the cores may be shared with other tests."""
LOOK_S = 0.05


class Fleet:
    """Who was started, by name; all of them end with the test, however it ends."""

    def __init__(self, bus_url: str, folder: Path, shelf: Path) -> None:
        self.bus_url = bus_url
        self.folder = folder
        self._shelf = shelf
        self._lifeline = os.pipe()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def scheduler(self, name: str, **told: str) -> None:
        self._start(name, "services.scheduler", told)

    def agent(self, node: str, memory: str, **told: str) -> None:
        facts = {"ODYSSAI_NODE": node, "ODYSSAI_MEMORY": memory, "ODYSSAI_MODELS": "none"}
        shelves = {"ODYSSAI_MODEL_DIRS": str(self._shelf)}
        self._start(node, "services.runner", facts | shelves | told)

    def gateway(self, name: str = "gateway", **told: str) -> str:
        """Its URL."""
        port = free_port()
        self._start(name, "services.gateway", {"ODYSSAI_PORT": str(port)} | told)
        return f"http://127.0.0.1:{port}"

    def _start(self, name: str, module: str, told: Mapping[str, str]) -> None:
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        reading = self._lifeline[0]
        facts = {
            "ODYSSAI_NATS": self.bus_url,
            "ODYSSAI_HOME": str(home),
            "ODYSSAI_LIFELINE_FD": str(reading),
        }
        with (home / "log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self._within(name), sys.executable, "-m", module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment(facts | told),
                pass_fds=(reading,),
                start_new_session=True,
            )

    def _within(self, name: str) -> list[str]:
        """What stands before its command."""
        return []

    def name_of(self, pid: int) -> str:
        return next(name for name, process in self._processes.items() if process.pid == pid)

    def pid_of(self, name: str) -> int:
        return self._processes[name].pid

    def freeze(self, name: str) -> None:
        """It stands still, and whom it started goes on."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        process.wait(END_S)

    def end(self) -> None:
        """The lifeline ends everybody who still lives, engines included."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for end in self._lifeline:
            os.close(end)

    def cut_power(self) -> None:
        """Everybody ends at once, by the lifeline."""
        for end in self._lifeline:
            os.close(end)
        for process in self._processes.values():
            process.wait(END_S)

    def logs(self) -> str:
        return "\n".join(
            f"== {log.relative_to(self.folder)}\n{log.read_text(errors='replace')[-1500:]}"
            for log in sorted([*self.folder.rglob("log"), *self.folder.rglob("*.log")])
        )


class Operator:
    """Who gives orders over the bus and looks at what becomes of them."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._services: dict[str, ServiceBeat] = {}

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> "AsyncIterator[Operator]":
        async with Bus.connect(url, "test:operator") as bus:
            operator = cls(bus)
            await bus.listen(SERVICE_BEAT, operator._hear)
            yield operator

    def _hear(self, beat: ServiceBeat) -> None:
        self._services[beat.id] = beat

    async def leader(self) -> ServiceBeat:
        """Which scheduler leads, by its own word."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                name = (await self.look()).leader
                beat = self._services.get(name)
                if beat is not None and beat.epoch:
                    return beat
                await asyncio.sleep(LOOK_S)

    async def submit(self, order: Order) -> Job:
        """As soon as somebody leads."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return (await self.bus.ask(SUBMIT, Submit(order=order), timeout_s=1.0)).job
                except BusError:
                    await asyncio.sleep(LOOK_S)

    async def done(self, order: Order) -> Job:
        job = await self.ended(await self.submit(order))
        assert job.state == "done", job
        return job

    async def ended(self, job: Job) -> Job:
        async with asyncio.timeout(PATIENCE_S):
            while not job.is_over:
                await asyncio.sleep(LOOK_S)
                job = await self.job(job)
        return job

    async def job(self, job: Job) -> Job:
        (found,) = (await self.look(LookAround(job=job.id))).jobs or (job,)
        return found

    async def cancel(self, job: Job) -> Job:
        asked = SteerJob(job=job.id, wish="cancel")
        return (await self.bus.ask(STEER_JOB, asked)).job

    async def look(self, asked: LookAround | None = None) -> Overview:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.bus.ask(LOOK_AROUND, asked or LookAround(), timeout_s=1.0)
                except BusError:
                    await asyncio.sleep(LOOK_S)

    async def node(self, name: str) -> NodeView | None:
        nodes = (await self.look()).nodes
        return next((node for node in nodes if node.node == NodeId(name)), None)

    async def alive(self, *names: str) -> None:
        """Until these nodes are heard and it is known what they have on disk."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = await self.look()
                heard = {node.node for node in seen.nodes if node.state != "silent"}
                stores = {stored.node for model in seen.models for stored in model.stored}
                if set(names) <= heard & stores:
                    return
                await asyncio.sleep(LOOK_S)
