"""When an engine counts as wedged, and what an agent does while the bus is away."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bus.connection import Bus
from bus.state import Bucket
from proto.ids import EngineId, ModelId, NodeId
from proto.presence import EngineBeat, ModelCard
from proto.state import ENGINES, EngineRecord
from proto.subjects import EVENT_TELEMETRY
from proto.telemetry import EngineEvent
from services.host import Host
from services.runner.service import WEDGED_S, Keeper
from tests.conftest import NatsServer
from tests.mesh.house import ROOT, environment, living, soon

NODE = NodeId("n1")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(clock: Clock, tmp_path: Path) -> Keeper:
    host = Host("runner", NODE, Bus("nats://nowhere", "runner:n1"), tmp_path)
    records: Any = None  # Nothing is written down here.
    return Keeper(host, NODE, "tiny", records, clock)


def beat(**said: Any) -> EngineBeat:
    card = ModelCard(id=ModelId("tiny"), context_length=10)
    usual: dict[str, Any] = {
        "engine": EngineId("e"), "node": NODE, "boot": "b", "pid": 1, "state": "ready",
        "models": (card,),
    }  # fmt: skip
    return EngineBeat(**usual | said)


def test_an_engine_at_work_for_long_is_not_wedged(keeper: Keeper, clock: Clock) -> None:
    for _ in range(30):
        clock.now_s += 1
        keeper.hear(beat(running=5, stalled_s=0.031))

        assert not keeper.is_wedged()


def test_an_engine_whose_step_clock_stands_is_wedged(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    for second in range(2, 15):
        clock.now_s += 1
        keeper.hear(beat(running=1, stalled_s=float(second)))

    assert keeper.is_wedged()


def test_a_silent_engine_is_wedged(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    clock.now_s += WEDGED_S + 1

    assert keeper.is_wedged()


def test_an_engine_unheard_while_the_bus_was_away_is_not(keeper: Keeper, clock: Clock) -> None:
    keeper.hear(beat())
    clock.now_s += WEDGED_S + 1
    keeper.excuse_silence()
    clock.now_s += 1

    assert not keeper.is_wedged()


def test_an_engine_that_is_still_loading_is_not(keeper: Keeper, clock: Clock) -> None:
    clock.now_s += 10 * WEDGED_S

    assert not keeper.is_wedged()


class Agent:
    """A runner as a process of its own, and the engines below it."""

    def __init__(self, url: str, home: Path, source: Path) -> None:
        told = {
            "ODYSSAI_NATS": url,
            "ODYSSAI_HOME": str(home),
            "ODYSSAI_NODE": NODE,
            "ODYSSAI_MODELS": str(source),
        }
        self._lifeline, self._held = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.runner"],
            cwd=ROOT,
            env=environment(told | {"ODYSSAI_LIFELINE_FD": str(self._lifeline)}),
            pass_fds=(self._lifeline,),
            stderr=subprocess.DEVNULL,
        )

    def engines(self) -> list[psutil.Process]:
        return living(psutil.Process(self.process.pid).children())

    def end(self) -> None:
        os.close(self._held)  # Whoever holds the lifeline ends.
        os.close(self._lifeline)
        self.process.wait(10)


StartAgent = Callable[[str, Path], Agent]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    agents: list[Agent] = []

    def start(url: str, source: Path) -> Agent:
        agents.append(Agent(url, tmp_path / "home", source))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()


async def events_of(bus: Bus) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    await bus.listen(EVENT_TELEMETRY, events.append)
    await bus.settled()
    return events


async def test_an_engine_that_dies_while_the_bus_is_away_is_replaced_by_one(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Bus.connect(nats_server.url, "test:agent") as bus:
        events = await events_of(bus)
        agent = start_agent(nats_server.url, tiny_model)
        await soon(lambda: any(event.phase == "ready" for event in events), 20)
        (first,) = agent.engines()

        nats_server.kill()
        first.kill()
        await soon(lambda: agent.engines() and first not in agent.engines(), 10)
        nats_server.start()
        del events[:]
        await soon(lambda: any(event.phase == "ready" for event in events), 30)

        assert agent.process.poll() is None
        (second,) = agent.engines()
        records = await Bucket.open(bus, ENGINES, EngineRecord)
        (record,) = (await records.all()).values()
        assert record.pid == second.pid
        assert record.models[0] == "tiny"


async def test_an_agent_that_is_asked_to_end_takes_its_engines_along(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Bus.connect(nats_server.url, "test:agent") as bus:
        events = await events_of(bus)
        agent = start_agent(nats_server.url, tiny_model)
        await soon(lambda: any(event.phase == "ready" for event in events), 20)
        engines = agent.engines()

        agent.process.send_signal(signal.SIGTERM)
        await soon(lambda: agent.process.poll() is not None, 10)

        assert agent.process.returncode == 0
        assert not living(engines)
        assert events[-1].phase == "stopped"
        records = await Bucket.open(bus, ENGINES, EngineRecord)
        assert not await records.all()


async def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(
    nats_server: NatsServer, tmp_path: Path, start_agent: StartAgent
) -> None:
    async with Bus.connect(nats_server.url, "test:agent") as bus:
        events = await events_of(bus)
        start_agent(nats_server.url, tmp_path / "nothing-here")

        await soon(lambda: any(event.phase == "restarting" for event in events), 20)

    failed = next(event for event in events if event.phase == "restarting")
    assert "there is no model folder" in failed.detail
    assert "Traceback" not in failed.detail
