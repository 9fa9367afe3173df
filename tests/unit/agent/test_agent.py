"""An agent as a process: what it makes of its plan, and what it leaves running."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from bus.connection import Bus
from bus.state import Bucket
from proto.ids import ModelId, engine_id
from proto.jobs import RestartAgent
from proto.memory import Grant
from proto.plan import PLANS, NodePlan, Placement
from proto.presence import EngineStatus, NodeBeat
from proto.state import ENGINES, EngineRecord
from proto.subjects import EVENT_TELEMETRY, NODE_BEAT, RESTART_AGENT
from proto.telemetry import EngineEvent
from tests.conftest import NatsServer
from tests.mesh.house import living, soon
from tests.unit.agent.conftest import NODE, Agent, StartAgent

START_S = 20.0
"""Far more than an engine needs: the cores may be shared."""


class Seen:
    """What the mesh hears of the node, and the plan that a leader writes for it."""

    def __init__(self, bus: Bus, plans: Bucket[NodePlan]) -> None:
        self.bus = bus
        self.plans = plans
        self.events: list[EngineEvent] = []
        self.beat: NodeBeat | None = None

    @classmethod
    @asynccontextmanager
    async def on(cls, server: NatsServer) -> "AsyncIterator[Seen]":
        async with Bus.connect(server.url, "test:agent") as bus:
            seen = cls(bus, await Bucket.open(bus, PLANS, NodePlan))
            await bus.listen(EVENT_TELEMETRY, seen.events.append)
            await bus.listen(NODE_BEAT, seen._hear)
            await bus.settled()
            yield seen

    def _hear(self, beat: NodeBeat) -> None:
        self.beat = beat

    def engines(self) -> tuple[EngineStatus, ...]:
        return self.beat.engines if self.beat else ()

    def phases(self) -> list[str]:
        return [status.phase for status in self.engines()]

    async def until(self, phase: str) -> EngineEvent:
        """The first event of that phase; all that came before it is forgotten."""
        await soon(lambda: phase in [e.phase for e in self.events], START_S, f"{phase} event")
        place = [event.phase for event in self.events].index(phase)
        event = self.events[place]
        del self.events[: place + 1]
        return event

    async def plan(self) -> NodePlan:
        found = await self.plans.get(NODE)
        return found[0] if found else NodePlan(node=NODE)

    async def write(self, **changed: Any) -> None:
        await self.plans.put(NODE, replace(await self.plan(), **changed))


def placement(source: Path, **said: Any) -> Placement:
    grant = Grant(weights_bytes=1, kv_bytes=1 << 20, headroom_bytes=1, context=512, kv_tokens=2048)
    usual: dict[str, Any] = {
        "engine": engine_id(NODE, str(source)), "model": ModelId(source.name),
        "source": str(source), "grant": grant, "origin": "operator",
    }  # fmt: skip
    return Placement(**usual | said)


def told(process: psutil.Process) -> dict[str, str]:
    return process.environ()


async def test_the_plan_alone_starts_renews_and_stops_engines(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        placed = placement(tiny_model, slots=3)
        await seen.write(placements=(placed,))
        agent = start_agent(nats_server.url)
        await seen.until("ready")
        (first,) = agent.engines()
        await soon(lambda: seen.phases() == ["ready"])

        assert told(first)["ODYSSAI_SLOTS"] == "3"
        assert told(first)["ODYSSAI_CONTEXT"] == "512"
        assert told(first)["ODYSSAI_KV_TOKENS"] == "2048"
        assert told(first)["ODYSSAI_KV_BYTES"] == str(1 << 20)

        await seen.write(placements=(replace(placed, is_draining=True),))
        await soon(lambda: seen.phases() == ["draining"])
        assert agent.engines() == [first]

        await seen.write(placements=(replace(placed, life=1),))
        await seen.until("stopped")
        await seen.until("ready")
        (second,) = agent.engines()
        assert second != first
        await soon(lambda: [s.life for s in seen.engines() if s.phase == "ready"] == [1])

        await seen.write(placements=())
        await seen.until("stopped")
        await soon(lambda: seen.engines() == ())
        assert not agent.engines()
        records = await Bucket.open(seen.bus, ENGINES, EngineRecord)
        assert not await records.all()


async def test_what_the_plan_has_comes_back_and_what_left_it_meanwhile_ends(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        agent = start_agent(nats_server.url, tiny_model)
        await seen.until("ready")
        (by_flag,) = (await seen.plan()).placements
        assert (by_flag.origin, by_flag.is_pinned, by_flag.model) == ("flag", True, "tiny")
        assert by_flag.fingerprint
        before = agent.engines()
        await seen.write(placements=(replace(by_flag, origin="operator"),))

        cut(agent, before)
        agent = start_agent(nats_server.url)  # Nobody names the model any more.
        await seen.until("ready")
        after = agent.engines()
        assert len(after) == 1
        assert after != before

        cut(agent, [])
        await seen.write(placements=())
        start_agent(nats_server.url)
        await soon(lambda: not living(after), START_S, "the engine to end")


def cut(agent: Agent, engines: list[psutil.Process]) -> None:
    agent.process.kill()
    agent.process.wait()
    for engine in engines:
        engine.kill()


async def test_a_restart_ends_no_engine_and_leaves_no_corpse(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        agent = start_agent(nats_server.url, tiny_model)
        await seen.until("ready")
        engines = agent.engines()
        before = seen.beat

        await seen.bus.ask(RESTART_AGENT, RestartAgent(node=NODE), NODE)
        await seen.until("adopted")

        assert agent.engines() == engines
        assert before
        await soon(lambda: seen.beat and seen.beat.boot != before.boot)
        assert seen.beat
        assert seen.beat.pid == before.pid == agent.process.pid
        await soon(lambda: seen.phases() == ["ready"])

        engines[0].kill()
        await seen.until("restarting")
        await seen.until("ready")
        await soon(lambda: agent.corpses() == [])


@pytest.fixture
def broken_model(tmp_path: Path, tiny_model: Path) -> Path:
    """Its weights are there; nobody can run its kind."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nobody-knows"}))
    return folder


async def test_a_model_that_ends_its_engine_too_often_is_quarantined_until_that_is_lifted(
    nats_server: NatsServer, broken_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        agent = start_agent(nats_server.url, broken_model, ODYSSAI_CRASH_LIMIT="2")
        given_up = await seen.until("quarantined")
        await soon(lambda: seen.phases() == ["quarantined"])

        plan = await seen.plan()
        assert plan.placements == ()
        (quarantine,) = plan.quarantined
        assert (quarantine.model, quarantine.crashes) == ("broken", 2)
        assert quarantine.reason == given_up.detail
        assert quarantine.reason.startswith("this version of mlx-lm cannot run")
        assert not agent.engines()

        await seen.write(quarantined=())
        await seen.until("starting")
        assert [p.model for p in (await seen.plan()).placements] == ["broken"]


async def test_what_does_not_fit_is_refused_with_numbers_and_the_rest_is_served(
    nats_server: NatsServer, tiny_model: Path, roomy_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        await seen.write(placements=(placement(roomy_model, fingerprint="of other files"),))
        start_agent(nats_server.url, f"{tiny_model},/no/such/model", ODYSSAI_MEMORY="200MB")
        await soon(lambda: seen.phases() == ["refused"] * 3, START_S)

        too_large, changed, absent = by_model(seen, "tiny", "roomy", "model")
        assert "200 MB are free" in too_large
        assert "does not fit on n1" in too_large
        assert "not those that were placed" in changed
        assert "/no/such/model" in absent
        assert {event.phase for event in seen.events} == {"refused"}


def by_model(seen: Seen, *names: str) -> list[str]:
    details = {status.model: status.detail for status in seen.engines()}
    return [details[name] for name in names]


async def test_an_engine_that_dies_while_the_bus_is_away_is_replaced_by_one(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        agent = start_agent(nats_server.url, tiny_model)
        await seen.until("ready")
        (first,) = agent.engines()

        nats_server.kill()
        first.kill()
        await soon(lambda: agent.engines() and first not in agent.engines(), 10)
        nats_server.start()
        await seen.until("ready")

        assert agent.process.poll() is None
        (second,) = agent.engines()
        records = await Bucket.open(seen.bus, ENGINES, EngineRecord)
        (record,) = (await records.all()).values()
        assert record.pid == second.pid
        assert record.models[0] == "tiny"


async def test_an_agent_that_is_asked_to_end_takes_its_engines_along(
    nats_server: NatsServer, tiny_model: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        agent = start_agent(nats_server.url, tiny_model)
        await seen.until("ready")
        engines = agent.engines()

        agent.process.send_signal(signal.SIGTERM)
        await soon(lambda: agent.process.poll() is not None, 10)

        assert agent.process.returncode == 0
        assert not living(engines)
        assert seen.events[-1].phase == "stopped"
        records = await Bucket.open(seen.bus, ENGINES, EngineRecord)
        assert not await records.all()


async def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(
    nats_server: NatsServer, tmp_path: Path, start_agent: StartAgent
) -> None:
    async with Seen.on(nats_server) as seen:
        start_agent(nats_server.url, tmp_path / "nothing-here")

        failed = await seen.until("refused")

    assert "there is no model folder" in failed.detail
    assert "Traceback" not in failed.detail
