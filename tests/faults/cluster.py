"""Three bus servers on this machine, by the settings that `odyssai bus` makes."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx

from bus import embedded
from bus.cluster import Seat, name_of, servers_folder
from bus.errors import BusError
from ops.joining.local import own_url
from ops.joining.servers import init
from proto.credentials import InvitedRole
from tests.mesh.house import ROOT, environment, free_port, until

HOST = "127.0.0.1"
START_S = 20.0


class Cluster:
    """Each may be killed and started again; all of them end with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.home = folder / "home"
        seats = (Seat(host=HOST, port=free_port(), route_port=free_port()) for _ in range(3))
        self.access = init(self.home, tuple(seats))
        self._monitors = [free_port() for _ in range(3)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> list[tuple[str, int]]:
        return [(seat.host, seat.port) for seat in self.access.seats]

    async def url(self, role: InvitedRole, name: str, ports: Iterable[int] = ()) -> str:
        """By a credential of its own; by way of ``ports``, if others lead to the servers."""
        async with asyncio.timeout(START_S):
            while not await self._admitted(role, name):
                await asyncio.sleep(0.1)
        return self.access.url(role, name, *(f"{HOST}:{port}" for port in ports))

    async def _admitted(self, role: InvitedRole, name: str) -> bool:
        """False while the keeper is still on its way."""
        try:
            await own_url(self.access, role, name)
        except BusError:
            return False
        return True

    def start(self, *which: int) -> "Cluster":
        for number in which or range(3):
            self._processes[number] = self._started(number)
        return self

    def _started(self, number: int) -> "subprocess.Popen[bytes]":
        folder = self._folder / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    embedded.find_server(), "-c", f"{name_of(number + 1)}.conf",
                    "-sd", folder / "jetstream", "--http_port", str(self._monitors[number]),
                ],
                stdout=log, stderr=log, cwd=servers_folder(self.access.folder),
            )  # fmt: skip

    def keep(self) -> "Cluster":
        """As operators do it."""
        with (self._folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "ops.command", "bus", "keep", "--home", self.home],
                stdout=log, stderr=log, cwd=ROOT, env=environment({"PYTHONPATH": str(ROOT)}),
            )  # fmt: skip
        return self

    def ready(self) -> "Cluster":
        """Once one of them leads and state can be kept."""
        until(lambda: self.leader() is not None, START_S, f"a leader\n{self.logs()}")
        return self

    def leader(self) -> int | None:
        """Which one decides over state, by the word of any."""
        for number, process in self._processes.items():
            if process.poll() is None and (name := self._leader_by(number)):
                return int(name.removeprefix("nats-")) - 1
        return None

    def _leader_by(self, number: int) -> str:
        try:
            told = httpx.get(
                f"http://127.0.0.1:{self._monitors[number]}/jsz", timeout=2, trust_env=False
            ).json()
        except (httpx.HTTPError, ValueError):
            return ""
        return str(told.get("meta_cluster", {}).get("leader", ""))

    def kill(self, number: int) -> None:
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def end(self) -> None:
        if self._keeper is not None:
            self._keeper.terminate()
            self._keeper.wait()
        for number in list(self._processes):
            self.kill(number)

    def logs(self) -> str:
        logs = [self._folder / "log", *sorted(self._folder.glob("*/log"))]
        return "\n".join(log.read_text()[-1500:] for log in logs if log.exists())
