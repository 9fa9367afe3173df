"""What relaying a token costs the gateway, and how much later the client has it.

The engine is scripted and only publishes; client, gateway, bus server and engine share the
machine's cores.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

import psutil
import uvloop

from ops.bench._children import running
from ops.bench._load import Answer, Line, Server
from ops.bench._mesh import NODE, Mesh, mesh
from ops.bench._report import Report, parser, percentile, say

PACE = 20
"""Tokens a second of a stream."""
CHUNKS = 32
"""Length of the short streams that saturate the gateway."""
STALL_MS = 40.0
"""What Nagle's algorithm and delayed acknowledgements cost a stream together."""
SHARED = (
    "Client, gateway, scheduler, bus server and scripted engine share the cores below. "
    "Latencies are those of the quietest round, since a neighbour's work adds to all of them."
)


@dataclass(frozen=True)
class Extent:
    """How much is done, by default and to see that it runs."""

    streams: tuple[int, ...] = (1, 64, 512)
    window_s: float = 4.0
    idle: int = 512
    alone: int = 300
    crowd: int = 64
    crowd_rounds: int = 40


QUICK = Extent(streams=(1, 8), window_s=0.4, idle=16, alone=10, crowd=4, crowd_rounds=2)


@dataclass(frozen=True)
class Paced:
    """What was seen of some streams at a steady pace."""

    cpu_us: float
    """The gateway's, for each token."""
    late_ms: list[float]
    """From publishing to reading."""


def main(argv: Sequence[str]) -> int:
    args = parser("relay", "The gateway's cost of a token.", 5).parse_args(argv)
    report = uvloop.run(
        measure(QUICK if args.quick else Extent(), 1 if args.quick else args.rounds)
    )
    return report.close(as_json=args.json)


async def measure(extent: Extent, rounds: int) -> Report:
    report = Report("relay", [SHARED])
    async with mesh() as mesh_, scripted(mesh_):
        server = await mesh_.server()
        gateway = mesh_.process("services.gateway")
        await _crowd(server, extent.crowd, 2, tokens=CHUNKS)
        growth = await _growth(server, gateway, extent.idle)
        report.add("memory of an idle stream", growth, "KiB")
        for streams in extent.streams:
            seen = [await _paced(server, gateway, streams, extent.window_s) for _ in range(rounds)]
            _tell_paced(report, streams, seen)
        await _tell_short(report, server, gateway, extent)
    return report


@asynccontextmanager
async def scripted(mesh_: Mesh) -> AsyncIterator[None]:
    log = mesh_.home.parent / "scripted.log"

    async def has_bus() -> bool:
        return (mesh_.home / "bus" / "access.json").exists()

    await mesh_.program.until(has_bus, 20)
    environment = {"ODYSSAI_NATS": mesh_.bus_url("runner", NODE), "ODYSSAI_LOG": "warning"}
    argv = (sys.executable, "-m", "ops.bench._scripted")
    async with running(argv, log, environment):
        yield


def _question(server: Server, tokens: int, pace: float) -> bytes:
    return server.question([{"role": "user", "content": f"{pace:g}"}], tokens)


async def _growth(server: Server, gateway: psutil.Process, streams: int) -> float:
    """KiB of the gateway for each stream that is open and waits."""
    before = gateway.memory_info().rss
    async with server.lines(streams) as lines:
        asked = [line.ask(_question(server, 2, 1e-3)) for line in lines]
        await asyncio.sleep(1.0 + streams / 500)
        grown = gateway.memory_info().rss - before
        for waiting in asked:
            waiting.cancel()
    await asyncio.sleep(0.5)
    return grown / streams / 1024


async def _paced(server: Server, gateway: psutil.Process, streams: int, window_s: float) -> Paced:
    """Open all streams first, then look at a window in which all of them flow."""
    settle_s = 0.5 + streams / 400
    tokens = int(PACE * (settle_s + window_s + 1.0))
    async with server.lines(streams) as lines:
        asked = [line.ask(_question(server, tokens, PACE)) for line in lines]
        await asyncio.sleep(settle_s)
        since, cpu = time.time(), _cpu_s(gateway)
        await asyncio.sleep(window_s)
        until, cpu = time.time(), _cpu_s(gateway) - cpu
        answers = await asyncio.gather(*asked)
    late_ms = [late for answer in answers for late in _late_ms(answer, since, until)]
    return Paced(1e6 * cpu / max(1, len(late_ms)), late_ms)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _late_ms(answer: Answer, since: float, until: float) -> list[float]:
    return [
        1e3 * at - int(head) / 1e3
        for at, head in zip(answer.text_at, answer.heads, strict=True)
        if since <= at < until
    ]


def _tell_paced(report: Report, streams: int, seen: list[Paced]) -> None:
    is_full = streams == 512
    name = f"{streams} × {PACE}/s"
    say(f"relay: {name}")
    cpu_us = median(paced.cpu_us for paced in seen)
    p50 = min(percentile(paced.late_ms, 0.5) for paced in seen)
    p99 = min(percentile(paced.late_ms, 0.99) for paced in seen)
    report.add(f"{name}: gateway CPU", cpu_us, "µs/token", at_most=45 if is_full else None)
    report.add(f"{name}: added p50", p50, "ms", at_most=2 if is_full else None)
    report.add(f"{name}: added p99", p99, "ms", at_most=STALL_MS if streams == 1 else None)


async def _tell_short(
    report: Report, server: Server, gateway: psutil.Process, extent: Extent
) -> None:
    say("relay: short requests")
    alone, _ = await _crowd(server, 1, extent.alone, tokens=1)
    report.add("1 token alone: p50", _p50_ms(alone), "ms", at_most=4)
    cpu = _cpu_s(gateway)
    answers, took_s = await _crowd(server, extent.crowd, extent.crowd_rounds, tokens=1)
    name = f"1 token, {extent.crowd} at once"
    report.add(f"{name}: rate", len(answers) / took_s, "req/s")
    report.add(f"{name}: gateway CPU", 1e6 * (_cpu_s(gateway) - cpu) / len(answers), "µs/req")
    single, _ = await _crowd(server, 1, extent.alone, tokens=CHUNKS)
    report.add(f"{CHUNKS} chunks alone: p50", _p50_ms(single), "ms", at_most=STALL_MS)
    cpu = _cpu_s(gateway)
    answers, took_s = await _crowd(server, 16, 4 * extent.crowd_rounds, tokens=CHUNKS)
    chunks = sum(len(answer.text_at) for answer in answers)
    report.add(f"{CHUNKS} chunks, 16 at once: rate", chunks / took_s, "chunks/s", at_least=8000)
    cpu_us = 1e6 * (_cpu_s(gateway) - cpu) / chunks
    report.add(f"{CHUNKS} chunks, 16 at once: gateway CPU", cpu_us, "µs/chunk")


def _p50_ms(answers: list[Answer]) -> float:
    return percentile([1e3 * answer.whole_s for answer in answers], 0.5)


async def _crowd(
    server: Server, clients: int, rounds: int, tokens: int
) -> tuple[list[Answer], float]:
    """Some clients that ask again as soon as they are answered; all answers, and seconds."""
    question = _question(server, tokens, 0)

    async def ask(line: Line) -> list[Answer]:
        return [await line.ask(question) for _ in range(rounds)]

    async with server.lines(clients) as lines:
        started = time.monotonic()
        answers = await asyncio.gather(*(ask(line) for line in lines))
        took_s = time.monotonic() - started
    return [answer for each in answers for answer in each], took_s
