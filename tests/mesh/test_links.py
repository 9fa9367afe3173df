"""Three machines with addresses of their own, one of them far away: what agents measure, and whom
the scheduler has share a model because of it.

Where no namespaces can be made all are near, on addresses of the loopback interface; what a far one
changes is then shown by tests/unit/runner/links and tests/unit/scheduler/grouping alone.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from ops import command
from proto.choice import Weigh
from proto.ids import NodeId
from proto.jobs import Load
from proto.link import Link
from proto.subjects import WEIGH
from tests.conftest import NatsServer
from tests.mesh.fleet import LOOK_S, PATIENCE_S, Fleet, Operator
from tests.mesh.network import Network, network
from tests.tiny import Shape, make_tiny

NODES = ("a", "b", "c")
FAR = "b"
LATE_S = 0.006


class Spread(Fleet):
    """Each agent on a machine of its own."""

    network: Network

    def _within(self, name: str) -> list[str]:
        return self.network.within(name)


@dataclass
class Running:
    network: Network
    fleet: Fleet
    operator: Operator

    async def links(self) -> dict[tuple[NodeId, NodeId], Link]:
        """Once all have measured all others."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                nodes = (await self.operator.look()).nodes
                found = {(n.node, link.peer): link for n in nodes for link in n.links}
                if len(found) == len(NODES) * (len(NODES) - 1):
                    return found
                await asyncio.sleep(LOOK_S)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Fleet]]:
    folder = tmp_path_factory.mktemp("links")
    make_tiny(folder / "shelf" / "tiny", context_length=512, shape=Shape("qwen2", layers=5))
    with network(NODES, FAR, LATE_S) as made:
        server = NatsServer(folder / "nats", host=made.bus_host)
        server.start()
        fleet = Spread(server.url, folder / "homes", folder / "shelf")
        fleet.network = made
        try:
            fleet.scheduler("s1")
            for node in NODES:
                fleet.agent(node, "400MB", ODYSSAI_FILES_HOST=made.addresses[node])
            yield made, fleet
        finally:
            fleet.end()
            server.kill()


@pytest.fixture
async def running(spread: tuple[Network, Fleet]) -> AsyncIterator[Running]:
    made, fleet = spread
    async with Operator.at(fleet.bus_url) as operator:
        await operator.alive(*NODES)
        yield Running(made, fleet, operator)


async def test_what_agents_measure_is_how_far_they_are(running: Running) -> None:
    for (one, other), link in (await running.links()).items():
        assert link.address == running.network.addresses[other]
        assert link.round_trip_s is not None
        is_far = FAR in (one, other) and running.network.late_s > 0
        assert (link.round_trip_s > 2 * LATE_S) == is_far, (one, other, link)
        assert link.round_trip_s < 4 * LATE_S


async def test_a_group_is_formed_over_the_faster_link(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    await running.links()
    asked = Weigh(model="tiny", ranks=2)
    found = (await running.operator.bus.ask(WEIGH, asked)).choices
    best = found[0]
    assert best.hop
    assert best.hop.is_measured
    assert best.hop.latency_s < LATE_S
    if running.network.late_s:
        assert {share.node for share in best.shares} == {"a", "c"}
        far = [c.hop.latency_s for c in found if c.hop and FAR in {s.node for s in c.shares}]
        assert far
        assert min(far) > LATE_S

    job = await running.operator.done(Load(model="tiny", way="tensor", ranks=2))
    assert {part.node for part in job.nodes} == {share.node for share in best.shares}
    given = ["plan", "tiny", "--ranks", "2", "--nats", running.fleet.bus_url]
    assert await asyncio.to_thread(command.main, given) == 0
    assert " measured: " in capsys.readouterr().out
