"""A mesh on paper: plans that steps change, and agents that obey when they are told to."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from proto.config import Config
from proto.group import RankBeat
from proto.ids import NodeId
from proto.jobs import Job, Order
from proto.memory import Footprint, Grant
from proto.plan import NodePlan, Placement, Quarantine
from proto.presence import EngineBeat, EnginePhase, EngineStatus, NodeBeat, TaskStatus
from proto.store import Store, StoredModel
from services.scheduler.demand.draining import Draining
from services.scheduler.grouping.unity import united
from services.scheduler.jobs.advance import advance
from services.scheduler.jobs.step import Step
from services.scheduler.leading.leftovers import leftovers
from services.scheduler.view import View

NOW = 1000.0
GB = 10**9
SMALL = Footprint(weights_bytes=GB, kv_bytes_per_token=1000, context_length=8192)
"""At most 1.35 GB; 1.32 GB with 4096 tokens."""


def stored(model: str, fingerprint: str = "f1", **fields: Any) -> StoredModel:
    plain = {"source": f"/models/{model}", "disk_bytes": GB, "footprint": SMALL}
    return StoredModel(id=model, fingerprint=fingerprint, **(plain | fields))


def placed(engine: str, model: str, size: int = GB, **fields: Any) -> Placement:
    grant = Grant(weights_bytes=size, kv_bytes=0, headroom_bytes=0, context=8192, kv_tokens=32768)
    plain = {"source": f"/models/{model}", "origin": "operator", "fingerprint": "f1"}
    return Placement(engine=engine, model=model, grant=grant, **(plain | fields))


class Paper:
    """Nodes ``a`` and ``b`` unless told otherwise, each with room for two small models."""

    def __init__(self, *nodes: str, wirable: int = 3 * GB) -> None:
        self.now_s = NOW
        self.config = Config()
        self.plans: dict[str, NodePlan] = {}
        self.stores: dict[str, Store] = {}
        self.nodes: dict[str, NodeBeat] = {}
        self.engines: dict[str, EngineBeat] = {}
        self.ranks: dict[str, RankBeat] = {}
        self.jobs: dict[str, Job] = {}
        self.last: Step
        self._draining = Draining()
        for node in nodes or ("a", "b"):
            self.nodes[node] = NodeBeat(
                node=node, boot=f"{node}-1", pid=1, host=node, platform="Darwin arm64",
                free_bytes=100 * GB, wirable_bytes=wirable,
            )  # fmt: skip
            self.stores[node] = Store(node=node, free_disk_bytes=100 * GB)

    def store(self, node: str, *models: StoredModel) -> None:
        self.stores[node] = structs.replace(self.stores[node], models=models)

    def place(self, node: str, *placements: Placement) -> None:
        """As if they had been there for long: they serve."""
        self.plans[node] = structs.replace(self.plan(node), placements=placements)
        self.obey()

    def quarantine(self, node: str, model: str, reason: str = "it burns") -> None:
        """As the agent does it: the placement goes in the same write."""
        entry = Quarantine(model=model, source="s", reason=reason, crashes=3, at_s=self.now_s)
        plan = self.plan(node)
        left = tuple(p for p in plan.placements if p.model != model)
        self.plans[node] = structs.replace(plan, placements=left, quarantined=(entry,))

    def plan(self, node: str) -> NodePlan:
        return self.plans.get(node) or NodePlan(node=NodeId(node))

    def models(self, node: str) -> list[str]:
        return [p.model for p in self.plan(node).placements]

    @property
    def view(self) -> View:
        return View(
            now_s=self.now_s,
            clock_s=self.now_s,
            written_at={job.id: job.updated_s for job in self.jobs.values()},
            nodes=self.nodes,
            engines=self.engines,
            ranks=self.ranks,
            plans=self.plans,
            stores=self.stores,
            config=self.config,
            jobs=self.jobs,
        )

    def submit(self, order: Order, by: str = "operator", id: str = "j1") -> Job:
        job = Job(id=id, order=order, by=by, created_s=self.now_s, updated_s=self.now_s)
        self.jobs[id] = job
        return self.look(job)

    def look(self, job: Job) -> Job:
        """One step: plans first, then the record."""
        self.last = advance(self.jobs[job.id], self.view)
        for node, change in self.last.changes:
            self.plans[node] = change(self.plan(node))
        if self.last.job != self.jobs[job.id]:
            self.jobs[job.id] = structs.replace(self.last.job, updated_s=self.now_s)
        return self.jobs[job.id]

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    def obey(self, phase: EnginePhase = "ready", **said: Any) -> None:
        """Every agent's heartbeat says that its engines are this far; ready ones are heard."""
        self.engines = {}
        for node, beat in self.nodes.items():
            placements = self.plan(node).placements
            statuses = [_status(p, phase, said) for p in placements]
            self.nodes[node] = structs.replace(
                beat, engines=tuple(statuses), is_draining=self.plan(node).is_drained
            )
            for placement in placements:
                if phase == "ready":
                    self.hear(node, placement.engine)

    def hear(self, node: str, engine: str, **fields: Any) -> None:
        plain = {"boot": "b", "pid": 1, "state": "ready", "models": ()}
        self.engines[engine] = EngineBeat(engine=engine, node=node, **(plain | fields))

    def work(self, node: str, phase: str, **fields: Any) -> None:
        """The node's heartbeat says so of every task of its plan."""
        statuses = [
            TaskStatus(job=wanted.task.job, phase=phase, **fields)
            for wanted in self.plan(node).tasks
        ]
        self.nodes[node] = structs.replace(self.nodes[node], tasks=tuple(statuses))

    def fall_silent(self, node: str) -> None:
        del self.nodes[node]
        self.engines = {e: b for e, b in self.engines.items() if b.node != node}

    def sweep(self) -> None:
        """What the leader does beside jobs."""
        for node, engine in self._draining.look(self.view):
            left = tuple(p for p in self.plan(node).placements if p.engine != engine)
            self.plans[node] = structs.replace(self.plan(node), placements=left)
        for node, change in (*united(self.view), *leftovers(self.view)):
            self.plans[node] = change(self.plan(node))

    def tasks(self) -> Mapping[str, list[tuple[str, str]]]:
        """What each node is to do, and whether it is to run, pause or end."""
        return {
            node: [(type(t.task).__name__, t.wanted) for t in plan.tasks]
            for node, plan in self.plans.items()
            if plan.tasks
        }


def _status(placement: Placement, phase: EnginePhase, said: dict[str, Any]) -> EngineStatus:
    is_leaving = placement.is_draining and phase == "ready"
    return EngineStatus(
        engine=placement.engine,
        model=placement.model,
        phase="draining" if is_leaving else phase,
        life=placement.life,
        **said,
    )
