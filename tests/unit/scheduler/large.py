"""A mesh on paper with a model that fits on none of its nodes."""

from typing import Any

from proto.group import Group
from proto.jobs import Job, Load
from proto.layout import Layout
from proto.memory import Footprint
from proto.plan import Placement
from proto.store import StoredModel
from tests.unit.scheduler.paper import GB, Paper, stored

LARGE = Footprint(weights_bytes=11 * GB, kv_bytes_per_token=1000, context_length=8192)
LAYOUT = Layout(
    layer_bytes=(GB,) * 10, outer_bytes=GB, kv_bytes=(100,) * 10, read_bytes=11 * GB,
    divided={"KV heads": 4}, is_divisible=True, is_stageable=True,
)  # fmt: skip


def large(node: str) -> StoredModel:
    """Each node has it in a place of its own."""
    return stored("m", source=f"/{node}/m", footprint=LARGE, layout=LAYOUT)


def fleet(*nodes: str, wirable: int = 8 * GB) -> Paper:
    mesh = Paper(*(nodes or ("a", "b")), wirable=wirable)
    for node in mesh.nodes:
        mesh.store(node, large(node))
    return mesh


def ranks(mesh: Paper) -> list[Placement]:
    """Those of m, by rank."""
    held = [p for node in mesh.nodes for p in mesh.plan(node).placements if p.model == "m"]
    return sorted(held, key=lambda p: p.group.rank_of(p.engine) if p.group else 0)


def group(mesh: Paper) -> Group:
    (found,) = {p.group for p in ranks(mesh)}
    assert found
    return found


def loaded(mesh: Paper, **order: Any) -> Job:
    job = mesh.submit(Load(model="m", **order))
    assert not job.is_over, job
    mesh.obey()
    return mesh.look(job)
