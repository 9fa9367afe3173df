"""GET /admin/status: the mesh in numbers."""

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from bus import jobs
from proto.overview import Overview
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.host import VERSION


class MeshStatus(Struct, frozen=True, kw_only=True):
    version: str
    """Of this gateway."""
    leader: str
    """The scheduler that leads; empty: none does at this moment."""
    epoch: int
    nodes: dict[str, int]
    """How many are in each state, as in the next three."""
    models: dict[str, int]
    engines: dict[str, int]
    jobs: dict[str, int]


async def show_status(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError."""
    seen = await jobs.look_around(gateway.mesh.bus)
    await exchange.reply(200, msgspec.json.encode(status(seen)))


def status(seen: Overview) -> MeshStatus:
    return MeshStatus(
        version=VERSION,
        leader=seen.leader,
        epoch=seen.epoch,
        nodes=_counted(node.state for node in seen.nodes),
        models=_counted(model.state for model in seen.models),
        engines=_counted(engine.phase for model in seen.models for engine in model.engines),
        jobs=_counted(job.state for job in seen.jobs),
    )


def _counted(states: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(states).items()))
