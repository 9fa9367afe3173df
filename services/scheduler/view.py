"""All that a decision about nodes and models may weigh, as of one moment. No bus, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from msgspec import structs

from proto.config import Config
from proto.group import RankBeat
from proto.ids import EngineId, JobId, ModelId, NodeId
from proto.jobs import Job
from proto.memory import Holding, free_bytes
from proto.plan import NodePlan, Placement
from proto.presence import EngineBeat, EngineStatus, NodeBeat
from proto.store import Store, StoredModel

GIVEN_UP = ("refused", "quarantined")
"""Phases of an engine that no agent starts any more."""


@dataclass(frozen=True)
class View:
    """``nodes`` and ``engines`` hold whoever is alive; plans and stores outlive their node."""

    now_s: float
    """Unix time, to stamp records with; nothing is reckoned with it, since it may be wrong."""
    clock_s: float = 0.0
    """Monotonic, this scheduler's own."""
    nodes: Mapping[NodeId, NodeBeat] = field(default_factory=dict)
    engines: Mapping[EngineId, EngineBeat] = field(default_factory=dict)
    plans: Mapping[NodeId, NodePlan] = field(default_factory=dict)
    stores: Mapping[NodeId, Store] = field(default_factory=dict)
    ranks: Mapping[EngineId, RankBeat] = field(default_factory=dict)
    """What ranks of groups said of late."""
    config: Config = field(default_factory=Config)
    ready_since: Mapping[EngineId, float] = field(default_factory=dict)
    """By ``clock_s``, when an engine was first heard to be ready in this life."""
    jobs: Mapping[JobId, Job] = field(default_factory=dict)
    written_at: Mapping[JobId, float] = field(default_factory=dict)
    """By ``clock_s``, when each job's record was heard to be as it is."""
    promised: Mapping[NodeId, int] = field(default_factory=dict)
    """Bytes on a node that jobs before this one wait for."""

    def plan(self, node: NodeId) -> NodePlan:
        return self.plans.get(node) or NodePlan(node=node)

    def with_plan(self, plan: NodePlan) -> "View":
        """The same moment, had one node another plan."""
        return replace(self, plans={**self.plans, plan.node: plan})

    def age_s(self, job: Job) -> float:
        """How long its record has been as it is."""
        return self.clock_s - self.written_at.get(job.id, self.clock_s)

    def placements(self, model: ModelId) -> list[tuple[NodeId, Placement]]:
        """Where a model is or should be, in the order of the nodes."""
        return self._placed.get(model, [])

    def drafted_by(self, model: ModelId) -> list[tuple[NodeId, Placement]]:
        """Engines that guess with it."""
        return [
            (node, placement)
            for node in sorted(self.plans)
            for placement in self.plans[node].placements
            if placement.draft is not None and placement.draft.model == model
        ]

    @cached_property
    def _placed(self) -> dict[ModelId, list[tuple[NodeId, Placement]]]:
        placed: dict[ModelId, list[tuple[NodeId, Placement]]] = {}
        for node in sorted(self.plans):
            for placement in self.plans[node].placements:
                placed.setdefault(placement.model, []).append((node, placement))
        return placed

    def status(self, node: NodeId, engine: EngineId) -> EngineStatus | None:
        """What the node's agent says of an engine; None while it says nothing."""
        beat = self.nodes.get(node)
        return next((s for s in beat.engines if s.engine == engine), None) if beat else None

    def lead(self, placement: Placement) -> EngineBeat | None:
        """What the engine says that answers for it: of a group, its leader."""
        group = placement.group
        return self.engines.get(group.leader if group else placement.engine)

    def without(self, model: ModelId) -> "View":
        """The same moment, were a model placed nowhere."""
        plans = {
            node: structs.replace(
                plan, placements=tuple(p for p in plan.placements if p.model != model)
            )
            for node, plan in self.plans.items()
        }
        return replace(self, plans=plans)

    def free_bytes(self, node: NodeId) -> int:
        """What a further engine may take there; nothing on a node that is not heard."""
        beat = self.nodes.get(node)
        if beat is None:
            return 0
        return free_bytes(beat.wirable_bytes, beat.free_bytes, self._holdings(node))

    def _holdings(self, node: NodeId) -> list[Holding]:
        return [self.holding(placement) for placement in self.plan(node).placements]

    def holding(self, placement: Placement) -> Holding:
        beat = self.engines.get(placement.engine)
        return Holding(
            reserved_bytes=placement.grant.total_bytes,
            measured_bytes=beat.memory_bytes if beat else 0,
        )

    def stored(self, model: ModelId) -> list[tuple[NodeId, StoredModel]]:
        """Living nodes that have a model on disk, in the order of their ids."""
        return self._stored.get(model, [])

    @cached_property
    def _stored(self) -> dict[ModelId, list[tuple[NodeId, StoredModel]]]:
        stored: dict[ModelId, list[tuple[NodeId, StoredModel]]] = {}
        for node in sorted(self.stores.keys() & self.nodes.keys()):
            for known in self.stores[node].models:
                stored.setdefault(known.id, []).append((node, known))
        return stored

    def model_of(self, name: str) -> ModelId | None:
        """The id of a model that is stored or placed somewhere, by its id or another name."""
        return self._names.get(name)

    @cached_property
    def _names(self) -> dict[str, ModelId]:
        known = [m for store in self.stores.values() for m in store.models]
        placed = [p for plan in self.plans.values() for p in plan.placements]
        names: dict[str, ModelId] = {alias: m.id for m in known for alias in m.aliases}
        names.update((alias, p.model) for p in placed for alias in p.aliases)
        names.update((m.id, m.id) for m in known)
        names.update((p.model, p.model) for p in placed)
        return names
