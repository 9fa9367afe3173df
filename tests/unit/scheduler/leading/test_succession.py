"""A leader that dies anywhere in an act leaves nothing half done: who leads next finishes it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bus.config import ConfigFollower
from bus.connection import Bus
from bus.fleet import Fleet
from bus.state import Bucket
from proto.ids import JobId
from proto.jobs import JOBS, Drain, Job, Load
from proto.plan import PLANS, NodePlan
from proto.store import STORES, Store
from services.host import Host
from services.scheduler.known import Known
from services.scheduler.leading.leading import Reign
from tests.conftest import NatsServer
from tests.mesh.house import soon
from tests.unit.scheduler.large import fleet, loaded
from tests.unit.scheduler.paper import Paper

DYING = range(9)
"""More writes than it takes until the drain is written down."""


async def share(bus: Bus, mesh: Paper, *jobs: Job) -> None:
    """What the mesh knows before anybody leads."""
    plans, stores = await Bucket.open(bus, PLANS, NodePlan), await Bucket.open(bus, STORES, Store)
    for node in mesh.nodes:
        await plans.put(node, mesh.plan(node))
        await stores.put(node, mesh.stores[node])
    records = await Bucket.open(bus, JOBS, Job)
    for job in jobs:
        await records.put(job.id, job)


async def leader(bus: Bus, mesh: Paper, epoch: int, home: Path) -> tuple[Known, Reign]:
    heard = Fleet(now=lambda: 0.0)
    for node in mesh.nodes.values():
        heard.hear_node(node)
    for engine in mesh.engines.values():
        heard.hear_engine(engine)
    known = await Known.open(bus, heard, ConfigFollower())
    return known, Reign(Host("scheduler", f"s{epoch}", bus, home), known, epoch)


def dies_at(write: int, known: Known) -> None:
    """It is gone when it is about to write so many times."""
    left = [write]

    def mortal(swap: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
        async def one(*given: Any) -> int:
            if not left[0]:
                raise asyncio.CancelledError
            left[0] -= 1
            return await swap(*given)

        return one

    for bucket in (known.plans.bucket, known.jobs.bucket):
        bucket.swap = mortal(bucket.swap)  # type: ignore[method-assign]


def waiting(known: Known) -> list[Job]:
    """Loads that are under way."""
    jobs = known.view().jobs.values()
    return [job for job in jobs if isinstance(job.order, Load) and not job.is_over]


@pytest.mark.parametrize("write", DYING)
async def test_a_group_whose_node_is_drained_is_formed_anew_whenever_a_leader_dies(
    nats_server: NatsServer, tmp_path: Path, write: int
) -> None:
    mesh = fleet("a", "b", "c")
    assert loaded(mesh, nodes=("a", "b"), ranks=2, context=2048).state == "done"
    drain = Job(id=JobId("j1"), order=Drain(node="b"), by="operator", created_s=1.0, updated_s=1.0)
    async with Bus.connect(nats_server.url, "test:leaders") as bus:
        await share(bus, mesh, drain)
        known, first = await leader(bus, mesh, 1, tmp_path)
        dies_at(write, known)
        with pytest.raises(asyncio.CancelledError):
            await first.last()

        known, second = await leader(bus, mesh, 2, tmp_path)
        leading = asyncio.create_task(second.last())
        await soon(lambda: waiting(known) and known.view().plan("b").is_drained)
        await soon(lambda: all(p.is_draining for _, p in known.view().placements("m")))
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)

    (load,) = waiting(known)
    assert load.order == Load(model="m", context=2048, makes_room=False)
    assert load.phase in ("accepted", "draining")
