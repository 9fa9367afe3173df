"""What a decision and a heartbeat cost a scheduler, with ten nodes and with a thousand.

The scheduler is the real one, on a bus with nobody else. Engines, their caches and ten open
conversations on each are simulated; what they say is handed over as the bytes that come by bus.
"""

import gc
import random
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import uvloop

from bus.config import ConfigFollower
from bus.connection import Bus
from bus.fleet import Fleet
from ops.bench._bus import bus_server
from ops.bench._report import Report, parser, percentile, say
from proto.ids import EngineId, ModelId, NodeId, SessionId
from proto.placement import Prefix, Schedule
from proto.presence import HEARTBEAT_S, MOST_PREFIXES, EngineBeat, ModelCard, NodeBeat
from proto.subjects import ENGINE_BEAT, NODE_BEAT, SCHEDULE
from services.scheduler.known import Known
from services.scheduler.service import Scheduler

AIM_US = 200.0
"""Of the slowest of a hundred decisions at a thousand nodes."""
AIM_GROWTH = 3.0
"""Of the median decision from ten nodes to a thousand: what no processor's cache holds any more."""
REPLICAS = 5
OPEN = 10
"""Conversations for each engine."""
SLOTS = 16
SYSTEM_BLOCKS, TURN_CHARS, LONGEST_TALK = 6, 600, 60
TOLD = 10
"""Latest entries of a conversation that its engine has room to tell of."""
TENANTS = 4
"""System prompts of each model."""
CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Extent:
    decisions: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Costs:
    """In microseconds."""

    decisions: list[float]
    beats: list[float]


@dataclass
class Talk:
    """A conversation, as the gateway tells of it."""

    session: SessionId
    model: ModelId
    chain: list[Prefix]
    engine: "Engine | None" = None
    """Where its open request is."""

    def goes_on(self, rng: random.Random) -> None:
        if len(self.chain) >= LONGEST_TALK:
            del self.chain[SYSTEM_BLOCKS:]
        for _ in ("answer", "question"):
            self.chain.append(Prefix(rng.randbytes(8), self.chain[-1].chars + TURN_CHARS))

    def question(self) -> Schedule:
        chain = tuple(self.chain)
        return Schedule(
            model=self.model, session=self.session, prompt_bytes=chain[-1].chars, prefix=chain
        )


@dataclass
class Engine:
    number: int
    model: ModelId
    running: int = 0
    cached: "OrderedDict[bytes, int]" = field(default_factory=OrderedDict)

    @property
    def id(self) -> EngineId:
        return EngineId(f"node-{self.number}.engine")

    def takes(self, talk: Talk) -> None:
        """It tells of a shared beginning and of the ends of conversations."""
        self.running += 1
        for prefix in talk.chain[:SYSTEM_BLOCKS] + talk.chain[-TOLD:]:
            self.cached[prefix.digest] = prefix.chars // CHARS_PER_TOKEN
            self.cached.move_to_end(prefix.digest)
        while len(self.cached) > MOST_PREFIXES:
            self.cached.popitem(last=False)

    def beat(self) -> bytes:
        return ENGINE_BEAT.encode(
            EngineBeat(
                engine=self.id,
                node=NodeId(f"node-{self.number}"),
                boot=f"boot-{self.number}",
                pid=1,
                state="ready",
                models=(ModelCard(id=self.model, context_length=32_768),),
                slots=SLOTS,
                running=min(self.running, SLOTS),
                queued=max(0, self.running - SLOTS),
                prefill_tokens_per_s=1000.0,
                prefixes=dict(reversed(self.cached.items())),
            )
        )


class World:
    """A fleet of ``nodes``, one engine on each, every model on REPLICAS of them."""

    def __init__(self, nodes: int, seed: int = 1) -> None:
        self.rng = rng = random.Random(seed)
        models = [ModelId(f"org/model-{number}") for number in range(max(1, nodes // REPLICAS))]
        self.nodes = nodes
        self.engines = [Engine(number, models[number % len(models)]) for number in range(nodes)]
        self.by_id = {engine.id: engine for engine in self.engines}
        systems = {model: [self._system() for _ in range(TENANTS)] for model in models}
        self.talks = [
            Talk(SessionId(f"session-{number}"), model, list(rng.choice(systems[model])))
            for number in range(OPEN * nodes)
            for model in (models[number % len(models)],)
        ]

    def _system(self) -> list[Prefix]:
        ends = range(1024, 1024 * (SYSTEM_BLOCKS + 1), 1024)
        return [Prefix(self.rng.randbytes(8), chars) for chars in ends]

    def node_beat(self, number: int) -> bytes:
        return NODE_BEAT.encode(
            NodeBeat(
                node=NodeId(f"node-{number}"), boot=f"n{number}", pid=1, host="h", platform="p"
            )
        )

    def move(self, talk: Talk, engine: EngineId) -> None:
        """Its last request ended, the next one is at work there."""
        if talk.engine is not None:
            talk.engine.running -= 1
        talk.engine = self.by_id[engine]
        talk.engine.takes(talk)


def main(argv: Sequence[str]) -> int:
    arguments = parser("scheduler", "What a decision costs at a thousand nodes.", 1)
    args = arguments.parse_args(argv)
    extent = Extent(200, (10, 50)) if args.quick else Extent(20_000, (10, 100, 1000))
    report = Report(
        "scheduler",
        [
            f"One engine a node, {REPLICAS} of each model, {OPEN} open conversations an engine.",
            "From the question's bytes to the answer's; the bus and its system calls left out.",
            "Processor time of its thread: what other programs take meanwhile is left out.",
        ],
    )
    uvloop.run(run(report, extent))
    return report.close(as_json=args.json)


async def run(report: Report, extent: Extent) -> None:
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        async with bus_server(Path(folder)) as url, Bus.connect(url, "bench") as bus:
            medians = {nodes: await _tell(report, bus, nodes, extent) for nodes in extent.nodes}
    least, most = extent.nodes[0], extent.nodes[-1]
    growth = medians[most] / medians[least]
    report.add(f"growth from {least} to {most} nodes", growth, at_most=AIM_GROWTH)


async def _tell(report: Report, bus: Bus, nodes: int, extent: Extent) -> float:
    """The median decision."""
    world = World(nodes)
    gc.freeze()  # As services do, once they have started.
    costs = await measure(bus, world, extent.decisions)
    gc.unfreeze()
    name, decisions = f"{nodes} nodes", costs.decisions
    aim = AIM_US if nodes == max(extent.nodes) else None
    report.add(f"{name}: decisions", 1e6 / mean(decisions), "a second")
    report.add(f"{name}: decision, p50", percentile(decisions, 0.50), "µs")
    report.add(f"{name}: decision, p99", percentile(decisions, 0.99), "µs", at_most=aim)
    report.add(f"{name}: heartbeat, p50", percentile(costs.beats, 0.50), "µs")
    report.add(f"{name}: heartbeat, p99", percentile(costs.beats, 0.99), "µs")
    say(f"scheduler: {name}: {mean(decisions):.0f} µs a decision")
    return percentile(decisions, 0.50)


async def measure(bus: Bus, world: World, decisions: int) -> Costs:
    """A heartbeat of some engine before each decision: there are as many of both where an engine
    has ten open requests and each takes ten seconds. A simulated clock keeps that pace.
    """
    now_s = 0.0
    fleet = Fleet(lambda: now_s)
    scheduler = Scheduler(bus, fleet, await Known.open(bus, fleet, ConfigFollower()))
    for number, engine in enumerate(world.engines):
        scheduler.fleet.hear_node(NODE_BEAT.decode(world.node_beat(number)))
        scheduler.fleet.hear_engine(ENGINE_BEAT.decode(engine.beat()))
    for talk in world.talks:
        for _ in range(world.rng.randrange(1, LONGEST_TALK // 2)):
            talk.goes_on(world.rng)
        await _decide(scheduler, world, talk)
    costs = Costs([], [])
    for turn in range(decisions):
        now_s += HEARTBEAT_S / world.nodes
        costs.beats.append(_hear(scheduler, world.engines[turn % world.nodes]))
        talk = world.rng.choice(world.talks)
        talk.goes_on(world.rng)
        costs.decisions.append(await _decide(scheduler, world, talk))
    return costs


def _hear(scheduler: Scheduler, engine: Engine) -> float:
    body = engine.beat()
    began = time.thread_time()
    scheduler.fleet.hear_engine(ENGINE_BEAT.decode(body))
    return 1e6 * (time.thread_time() - began)


async def _decide(scheduler: Scheduler, world: World, talk: Talk) -> float:
    body = SCHEDULE.encode(talk.question())
    began = time.thread_time()
    answer = await scheduler.schedule(SCHEDULE.decode(body))
    SCHEDULE.encode_answer(answer)
    took_us = 1e6 * (time.thread_time() - began)
    world.move(talk, answer.candidates[0].engine)
    return took_us
