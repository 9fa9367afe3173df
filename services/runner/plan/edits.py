"""What an agent writes into its node's plan. Nothing here knows the bus or a clock."""

from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId
from proto.memory import Footprint, Grant, Holding, free_bytes, largest_grant, least_grant
from proto.plan import NodePlan, Placement, Quarantine
from proto.store import StoredModel
from services.runner.memory import spelled

Edit = Callable[[NodePlan], NodePlan]
"""A change of a plan. It may be asked again, with what another writer made of it."""


class Memory:
    """What there is to give away, as of one moment."""

    def __init__(
        self, wirable_bytes: int, available_bytes: int, measured: Mapping[EngineId, int]
    ) -> None:
        """``measured``: what engines' processes take now."""
        self.wirable_bytes = wirable_bytes
        self._available_bytes = available_bytes
        self._measured = measured

    def free_bytes(self, plan: NodePlan) -> int:
        held = [
            Holding(
                reserved_bytes=placement.grant.total_bytes,
                measured_bytes=self._measured.get(placement.engine, 0),
            )
            for placement in plan.placements
        ]
        return free_bytes(self.wirable_bytes, self._available_bytes, held)


def with_flag(
    plan: NodePlan, engine: EngineId, source: str, stored: StoredModel, memory: Memory, now_s: float
) -> NodePlan:
    """The plan with a model that the agent was started with, pinned.

    What an operator placed stays as the operator wanted it, and what is in
    quarantine stays there. What is placed already keeps its grant as long as
    that fits: engines outlive agents. Raises MeshError when there is no room.
    """
    if quarantine_of(plan, stored.id) is not None or _is_placed_by_others(plan, engine, stored.id):
        return plan
    before = next((p for p in plan.placements if p.engine == engine), None)
    rest = without(plan, engine)
    if before is not None and _still_holds(before, stored, rest, memory):
        kept = replace(before, origin="flag", is_pinned=True)
        return replace(plan, placements=_exchanged(plan.placements, kept))
    placement = Placement(
        engine=engine,
        model=stored.id,
        source=source,
        aliases=stored.aliases,
        fingerprint=stored.fingerprint,
        kind=stored.kind,
        grant=_granted(rest, stored.id, stored.footprint, memory),
        origin="flag",
        is_pinned=True,
        placed_s=now_s,
        life=before.life + 1 if before is not None else 0,
    )
    return replace(rest, placements=(*rest.placements, placement))


def _is_placed_by_others(plan: NodePlan, engine: EngineId, model: ModelId) -> bool:
    """By an operator; or on demand, by another name of the model's source.

    Two flags that name two folders of one name are two engines.
    """
    return any(
        p.origin == "operator" if p.engine == engine else p.model == model and p.origin != "flag"
        for p in plan.placements
    )


def _still_holds(before: Placement, stored: StoredModel, rest: NodePlan, memory: Memory) -> bool:
    reserved = sum(p.grant.total_bytes for p in rest.placements) + before.grant.total_bytes
    return before.fingerprint == stored.fingerprint and reserved <= memory.wirable_bytes


def _granted(plan: NodePlan, model: ModelId, footprint: Footprint, memory: Memory) -> Grant:
    """Raises MeshError with the numbers when there is no room."""
    free = memory.free_bytes(plan)
    found = largest_grant(footprint, free, memory.wirable_bytes)
    if found is not None:
        return found
    least = least_grant(footprint)
    raise MeshError(
        Code.NO_MEMORY,
        f"{model} does not fit on {plan.node}: it needs {spelled(least.total_bytes)} "
        f"({spelled(least.weights_bytes)} of weights, {spelled(least.kv_bytes)} for a context of "
        f"{least.context} tokens, {spelled(least.headroom_bytes)} of head-room) and "
        f"{spelled(max(0, free))} of {spelled(memory.wirable_bytes)} are free. Unload another "
        "model, take one with fewer bits, or let models have more with --memory.",
    )


def _exchanged(placements: tuple[Placement, ...], new: Placement) -> tuple[Placement, ...]:
    return tuple(new if p.engine == new.engine else p for p in placements)


def with_flags_only_of(plan: NodePlan, named: Collection[EngineId]) -> NodePlan:
    """Without placements of flags that the agent is not given any more. All others stay."""
    kept = tuple(p for p in plan.placements if p.origin != "flag" or p.engine in named)
    return replace(plan, placements=kept)


def without(plan: NodePlan, engine: EngineId) -> NodePlan:
    return replace(plan, placements=tuple(p for p in plan.placements if p.engine != engine))


def with_quarantine(plan: NodePlan, placement: Placement, quarantine: Quarantine) -> NodePlan:
    """The placement goes, and why it went stays. One that is there no more changes nothing."""
    if all(p.engine != placement.engine for p in plan.placements):
        return plan
    others = tuple(q for q in plan.quarantined if q.model != quarantine.model)
    return replace(without(plan, placement.engine), quarantined=(*others, quarantine))


def quarantine_of(plan: NodePlan, model: ModelId) -> Quarantine | None:
    return next((q for q in plan.quarantined if q.model == model), None)
