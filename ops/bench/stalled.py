"""What clients cost that ask and do not read: memory, and others' speed.

Every process is real, the engine's tiny model included. Clients that stall ask for a long stream
and take nothing; the same healthy streams flow before they come and while all of them stand.
"""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import uvloop

from bus.connection import Bus
from ops.bench._load import Server, rate
from ops.bench._mesh import Mesh, mesh
from ops.bench._models import brief, tiny
from ops.bench._report import Report, paired, parser, say
from proto.presence import EngineBeat
from proto.subjects import ENGINE_BEAT

AIM_MIB = 200.0
AIM_SPEED = 0.9
PENDING = 128
"""Asked at a time; who comes when all slots and places are taken is refused."""
RECEIVED_BYTES = 4096
"""What a client's own system takes for it: the least there is, for a quick end."""
ENDLESS = 6000
"""Tokens, far more than anybody who does not read gets."""
PARKED_S = 900.0
PATIENT = {"ODYSSAI_STALL_S": "86400"}
"""Who stands is not cut while the others come."""
PROCESSES = {
    "gateway": "services.gateway",
    "engine": "services.runner.engine",
    "bus server": "nats-server",
}


@dataclass(frozen=True)
class Extent:
    clients: int = 1000
    rounds: int = 5
    streams: int = 16
    tokens: int = 400


QUICK = Extent(clients=100, rounds=1, streams=4, tokens=60)


class Parked:
    """What the engine's heartbeats say of clients that do not read."""

    def __init__(self) -> None:
        self.count = 0
        self.cached_bytes = 0
        """In the prefix cache, which keeps what anybody's answer was computed from."""
        self._news = asyncio.Event()

    def hear(self, beat: EngineBeat) -> None:
        self.count, self.cached_bytes = beat.parked, beat.cache.used_bytes
        self._news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PARKED_S):
            while self.count < count:
                self._news.clear()
                await self._news.wait()


def main(argv: Sequence[str]) -> int:
    args = parser("stalled", "The cost of clients that do not read.", Extent.rounds).parse_args(
        argv
    )
    extent = QUICK if args.quick else Extent(rounds=args.rounds)
    return uvloop.run(measure(extent)).close(as_json=args.json)


async def measure(extent: Extent) -> Report:
    report = Report("stalled", ["The healthy streams' clients read as fast as they can."])
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        model = str(tiny(Path(folder)))
        async with mesh(model, told=PATIENT) as mesh_, listening(mesh_) as parked:
            server = await mesh_.server()
            await _measure(report, mesh_, server, parked, extent)
    return report


@asynccontextmanager
async def listening(mesh_: Mesh) -> AsyncIterator[Parked]:
    parked = Parked()

    async def has_bus() -> bool:
        return (mesh_.home / "bus" / "access.json").exists()

    await mesh_.program.until(has_bus, 20)
    async with Bus.connect(mesh_.bus_url("health"), "bench:stalled") as bus:
        await bus.listen(ENGINE_BEAT, parked.hear)
        yield parked


async def _measure(
    report: Report, mesh_: Mesh, server: Server, parked: Parked, extent: Extent
) -> None:
    # What a full batch takes, and what is cached of it, is no matter of who reads.
    await _flow(server, "warm", max(64, extent.streams), extent.tokens)
    before_s = [await _speed(server, f"before {n}", extent) for n in range(extent.rounds)]
    rest, cached = _resident(mesh_), parked.cached_bytes
    with clients() as stalled:
        for first in range(0, extent.clients, PENDING):
            count = min(PENDING, extent.clients - first)
            stalled += [_stall(server, f"stalled {first + n}") for n in range(count)]
            await parked.until(len(stalled))
            say(f"stalled: {len(stalled)} clients")
        grown = {name: (size - rest[name]) / 2**20 for name, size in _resident(mesh_).items()}
        cached = parked.cached_bytes - cached
        beside_s = [await _speed(server, f"beside {n}", extent) for n in range(extent.rounds)]
        await parked.until(extent.clients)
    report.add(f"{extent.streams} healthy streams beside ÷ before",
               paired(beside_s, before_s), at_least=AIM_SPEED)  # fmt: skip
    report.add("healthy streams before", median(before_s), "tokens/s")
    for name, mib in grown.items():
        report.add(f"{extent.clients} stalled clients: {name}", mib, "MiB")
    report.add("of the engine's, its prefix cache", cached / 2**20, "MiB")
    report.add(f"{extent.clients} stalled clients: in all", sum(grown.values()), "MiB",
               at_most=AIM_MIB)  # fmt: skip


@contextmanager
def clients() -> Iterator[list[socket.socket]]:
    links: list[socket.socket] = []
    try:
        yield links
    finally:
        for link in links:
            link.close()


def _stall(server: Server, mark: str) -> socket.socket:
    """A client that asks, and takes nothing."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
    link.connect((server.host, server.port))
    link.sendall(server.question(brief(mark), ENDLESS))
    return link


async def _speed(server: Server, mark: str, extent: Extent) -> float:
    return await _flow(server, mark, extent.streams, extent.tokens)


async def _flow(server: Server, mark: str, streams: int, tokens: int) -> float:
    """Tokens a second of clients that read."""
    questions = [server.question(brief(f"{mark} {n}"), tokens) for n in range(streams)]
    return rate(await server.ask_all(questions))


def _resident(mesh_: Mesh) -> dict[str, int]:
    """Bytes of memory by process."""
    below = psutil.Process(mesh_.program.process.pid).children(recursive=True)
    return {
        name: next(p for p in below if _runs(p, program)).memory_info().rss
        for name, program in PROCESSES.items()
    }


def _runs(process: psutil.Process, program: str) -> bool:
    line = process.cmdline()
    return program in line or (bool(line) and Path(line[0]).name == program)
