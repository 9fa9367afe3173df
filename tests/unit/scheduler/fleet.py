"""Nodes, plans, stores and jobs by plain values, for decisions about models."""

from typing import Any

from proto.errors import Refused
from proto.jobs import Job, Load
from proto.memory import Footprint, Grant
from proto.plan import NodePlan, Placement, Quarantine
from proto.presence import EngineBeat, EngineStatus, NodeBeat
from proto.store import Store, StoredModel
from services.scheduler.view import View

NOW = 1000.0


def placement(model: str, size: int = 10, **fields: Any) -> Placement:
    """Its engine is called like its model."""
    grant = Grant(weights_bytes=size, kv_bytes=0, headroom_bytes=0, context=1, kv_tokens=1)
    plain = {"model": model, "source": model, "origin": "demand", "placed_s": NOW - 100}
    return Placement(engine=model, grant=grant, **(plain | fields))


def beat(engine: str, **fields: Any) -> EngineBeat:
    plain = {"node": "studio", "boot": "b", "pid": 1, "state": "ready", "models": ()}
    return EngineBeat(engine=engine, **(plain | fields))


def status(engine: str, phase: str, detail: str = "") -> EngineStatus:
    return EngineStatus(engine=engine, model=engine, phase=phase, detail=detail)


def node(*engines: EngineStatus, wirable: int = 10, name: str = "studio") -> NodeBeat:
    """Its operating system has memory to spare: the ledger alone decides."""
    return NodeBeat(
        node=name, boot="b", pid=1, host="h", platform="p", free_bytes=1 << 40,
        wirable_bytes=wirable, engines=engines,
    )  # fmt: skip


def stored(model: str, **fields: Any) -> StoredModel:
    footprint = Footprint(weights_bytes=5, kv_bytes_per_token=0, context_length=4096)
    plain = {"source": model, "fingerprint": "f", "disk_bytes": 5, "footprint": footprint}
    return StoredModel(id=model, **(plain | fields))


def shut_out(model: str) -> Quarantine:
    return Quarantine(model=model, source=model, reason="it crashed", crashes=3, at_s=NOW)


def load(model: str, **fields: Any) -> Job:
    plain = {"id": f"load-{model}", "order": Load(model=model), "by": "demand"}
    return Job(**({"created_s": NOW, "updated_s": NOW} | plain | fields))


def failed(model: str, ended_s: float, **fields: Any) -> Job:
    error = Refused(code="insufficient_memory", message="too large")
    return load(model, state="failed", error=error, ended_s=ended_s, **fields)


def view(
    *placements: Placement,
    stores: tuple[StoredModel, ...] = (),
    quarantined: tuple[Quarantine, ...] = (),
    alive: NodeBeat | None = None,
    jobs: tuple[Job, ...] = (),
    **fields: Any,
) -> View:
    """One node, called studio."""
    plan = NodePlan(node="studio", placements=placements, quarantined=quarantined)
    plain = {
        "now_s": NOW,
        "clock_s": NOW,
        "written_at": {job.id: job.ended_s or job.updated_s for job in jobs},
        "nodes": {"studio": alive or node()},
        "plans": {"studio": plan},
        "jobs": {job.id: job for job in jobs},
        "stores": {"studio": Store(node="studio", models=stores)},
    }
    return View(**(plain | fields))
