"""How long one key waits for its first token while another floods the same engine.

The same prompts' worth of reading, idle and flooded, through a whole mesh with one engine. The
flood keeps its requests open: whatever ends is asked again.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import uvloop

from ops.bench._load import Line, Server
from ops.bench._mesh import mesh
from ops.bench._models import brief, prompt, tiny
from ops.bench._report import Report, paired, parser, say

AIM = 1.5
CONTEXT = 32_768
READING_S = 0.4
"""What the prompts that are measured take when nothing else runs: long enough to tell."""
FIRST_WORDS = 1200


@dataclass(frozen=True)
class Extent:
    rounds: int
    requests: int
    """That are measured in a round, idle and flooded each."""
    open: int
    """Requests of the flood."""
    tokens: int
    """Of each of its answers."""
    running: int
    """Answers of the flood that are under way before anything is measured."""


@dataclass(frozen=True)
class Turn:
    """Seconds to the first token of one round's requests."""

    idle: list[float]
    flooded: list[float]


def main(argv: Sequence[str]) -> int:
    arguments = parser("fair", "A key's time to first token while another key floods.", 4)
    args = arguments.parse_args(argv)
    report = Report("fair", ["Client, gateway and engine share the cores, flooded as idle."])
    extent = Extent(1, 3, 200, 200, 4) if args.quick else Extent(args.rounds, 8, 200, 2000, 60)
    uvloop.run(measure(report, extent))
    return report.close(as_json=args.json)


async def measure(report: Report, extent: Extent) -> None:
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        model = tiny(Path(folder), CONTEXT)
        async with mesh(str(model)) as mesh_:
            server = await mesh_.server()
            words = await _words_for(server)
            turns = [await _turn(server, number, words, extent) for number in range(extent.rounds)]
    _tell(report, turns)


async def _turn(server: Server, number: int, words: int, extent: Extent) -> Turn:
    idle = await _first_s(server, f"idle-{number}", words, extent.requests)
    async with _flood(replace(server, key="flood"), number, extent):
        flooded = await _first_s(server, f"flooded-{number}", words, extent.requests)
    return Turn(idle, flooded)


def _tell(report: Report, turns: list[Turn]) -> None:
    idle = [second for turn in turns for second in turn.idle]
    flooded = [second for turn in turns for second in turn.flooded]
    for name, times in (("idle", idle), ("flooded", flooded)):
        report.add(f"{name}: first token p50", 1e3 * median(times), "ms")
        report.add(f"{name}: first token p95", 1e3 * _p95(times), "ms")
    ratio = paired([median(turn.flooded) for turn in turns], [median(turn.idle) for turn in turns])
    report.add("p50, flooded against idle", ratio, at_most=AIM)
    report.add("p95, flooded against idle", _p95(flooded) / _p95(idle), at_most=AIM)


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]


async def _words_for(server: Server) -> int:
    """How long a prompt is that takes ``READING_S``; the first measures also warm the engine."""
    words = FIRST_WORDS
    for turn in range(4):
        (seconds,) = await _first_s(server, f"sizing-{turn}", words, 1)
        words = int(words * min(2.0, max(0.5, READING_S / seconds)))
    return words


async def _first_s(server: Server, mark: str, words: int, requests: int) -> list[float]:
    """One after the other, each with a prompt that nobody knows."""
    asking = replace(server, key="other")
    times = []
    for number in range(requests):
        answer = await asking.ask(asking.question(prompt(f"{mark}-{number}", words), 4))
        times.append(answer.first_s)
        say(f"fair: {mark} {number}: {1e3 * answer.first_s:.0f} ms")
    return times


@asynccontextmanager
async def _flood(server: Server, turn: int, extent: Extent) -> AsyncIterator[None]:
    """Returns when its answers are under way."""
    async with server.lines(extent.open) as lines:
        asking = [
            asyncio.create_task(_ask_on(server, line, f"{turn}-{number}", extent.tokens))
            for number, line in enumerate(lines)
        ]
        while sum(line.has_text for line in lines) < extent.running:
            await asyncio.sleep(0.05)
        yield
        for task in asking:
            task.cancel()


async def _ask_on(server: Server, line: Line, mark: str, tokens: int) -> None:
    for turn in count():
        await line.ask(server.question(brief(f"{mark}-{turn}"), tokens))
