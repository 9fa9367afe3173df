"""A model over two ranks: tokens a second of ours and of mlx-lm's own distributed server.

Same model, split the same way over as many processes by the same backend; both sides have the same
prompts, the same BLAS and their own defaults, and take turns in every round.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop
from msgspec import json

from bus.connection import Bus
from ops import probe
from ops.bench._bus import bus_server
from ops.bench._children import NotStarted, free_port
from ops.bench._load import Server, rate
from ops.bench._models import grown, prompt, tiny
from ops.bench._peers import ranks_of_mlx_lm
from ops.bench._replicas import START_S, be_agent, service
from ops.bench._report import Figure, Report, paired, parser, say
from proto.group import Group, Member
from proto.ids import EngineId, NodeId, fresh

RANKS = 2
NODES = tuple(NodeId(f"r{rank}") for rank in range(RANKS))
WORDS = 20
REST_S = 2.0
"""By then our ranks rest, which takes nothing."""
CROWDED = 8
"""From so many streams on, mlx-lm's own server is to be left well behind."""


@dataclass(frozen=True)
class Extent:
    rounds: int
    models: tuple[Callable[[Path], Path], ...] = (tiny, grown)
    streams: tuple[int, ...] = (1, 4, 8)
    tokens: int = 128


QUICK = Extent(1, models=(tiny,), streams=(1, 4), tokens=16)


def main(argv: Sequence[str]) -> int:
    arguments = parser("cluster", "Two ranks against mlx-lm's distributed server.", 5)
    args = arguments.parse_args(argv)
    report = uvloop.run(measure(QUICK if args.quick else Extent(args.rounds)))
    return report.close(as_json=args.json)


async def measure(extent: Extent) -> Report:
    report = Report("cluster", [f"Each layer is split over {RANKS} ranks, which share the cores."])
    for make in extent.models:
        with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
            report.figures += await _side_by_side(make(Path(folder)), Path(folder), extent)
    return report


async def _side_by_side(model: Path, folder: Path, extent: Extent) -> list[Figure]:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(_ours(model, folder / "home"))
        theirs = await stack.enter_async_context(ranks_of_mlx_lm(model, folder, RANKS))
        seen: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for turn in range(-1, extent.rounds):
            say(f"cluster: {model.name}, round {turn + 1} of {extent.rounds}")
            for streams in extent.streams:
                mark = f"{turn}-{streams}"
                with theirs.stopped():
                    our_rate = await _throughput(ours, mark, streams, extent)
                await asyncio.sleep(REST_S)
                their_rate = await _throughput(theirs.server, mark, streams, extent)
                # The first turn warms up.
                seen[streams] += [(our_rate, their_rate)] if turn >= 0 else []
    return [
        figure
        for streams, rates in seen.items()
        for figure in _compared(
            f"{model.name} × {streams}", streams, theirs.server.name, *zip(*rates, strict=True)
        )
    ]


@asynccontextmanager
async def _ours(model: Path, home: Path) -> AsyncIterator[Server]:
    """A gateway and the ranks of one engine, on a bus of their own. Raises NotStarted."""
    engines = tuple(EngineId(f"{node}.tiny") for node in NODES)
    group = Group(split="tensor", members=tuple(Member(engine=engine) for engine in engines))
    port = free_port()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bus_server(home))
        bus = await stack.enter_async_context(Bus.connect(url, "bench"))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        agents = [tasks.create_task(be_agent(bus, node)) for node in NODES]
        await stack.enter_async_context(
            service("services.gateway", url, home, {"ODYSSAI_PORT": str(port)})
        )
        for engine, node in zip(engines, NODES, strict=True):
            told = {
                "ODYSSAI_ENGINE": engine,
                "ODYSSAI_NODE": node,
                "ODYSSAI_BOOT": fresh(),
                "ODYSSAI_SOURCE": str(model),
                "ODYSSAI_GROUP": json.encode(group).decode(),
            }
            await stack.enter_async_context(service("services.runner.engine", url, home, told))
        yield await _serving(port)
        for agent in agents:
            agent.cancel()


async def _serving(port: int) -> Server:
    """Once its one model can be asked for."""
    try:
        async with asyncio.timeout(START_S):
            while True:
                status, body = await probe.fetch("127.0.0.1", port, "/v1/models")
                models = json.decode(body)["data"] if status == 200 else []
                if models:
                    return Server("odyssai", port, models[0]["id"])
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise NotStarted(f"no group serves after {START_S:g} s") from None


async def _throughput(side: Server, mark: str, streams: int, extent: Extent) -> float:
    questions = [side.question(prompt(f"{mark}-{i}", WORDS), extent.tokens) for i in range(streams)]
    return rate(await side.ask_all(questions))


def _compared(
    name: str, streams: int, peer: str, ours: Sequence[float], theirs: Sequence[float]
) -> list[Figure]:
    """The ratio with its aim, and what it is made of."""
    aim = 1.5 if streams >= CROWDED else 1.0
    return [
        Figure(name=f"{name} ÷ {peer}", value=paired(ours, theirs), at_least=aim),
        Figure(name=f"{name}: odyssai", value=median(ours), unit="tok/s"),
        Figure(name=f"{name}: {peer}", value=median(theirs), unit="tok/s"),
    ]
