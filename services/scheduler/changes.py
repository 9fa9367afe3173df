"""What may be changed in a node's plan. Pure: from plan to plan, harmless when repeated."""

from collections.abc import Callable, Iterable

from msgspec import structs

from proto.ids import EngineId, JobId, ModelId
from proto.plan import NodePlan, Placement, WantedTask
from proto.store import StoreTask
from services.scheduler.view import View

Change = Callable[[NodePlan], NodePlan]


def reserve(view: View, placement: Placement) -> Change:
    """Place an engine, unless its memory was given to another one meanwhile."""

    def change(plan: NodePlan) -> NodePlan:
        others = tuple(p for p in plan.placements if p.engine != placement.engine)
        free = view.with_plan(structs.replace(plan, placements=others)).free_bytes(plan.node)
        if placement.grant.total_bytes > free:
            return plan
        return structs.replace(plan, placements=(*others, placement))

    return change


def remove(engines: Iterable[EngineId]) -> Change:
    gone = frozenset(engines)
    return lambda plan: structs.replace(
        plan, placements=tuple(p for p in plan.placements if p.engine not in gone)
    )


def alter(engines: Iterable[EngineId], **fields: object) -> Change:
    """Set fields of placements."""
    altered = frozenset(engines)
    return lambda plan: structs.replace(
        plan,
        placements=tuple(
            structs.replace(p, **fields) if p.engine in altered else p for p in plan.placements
        ),
    )


def drain(engines: Iterable[EngineId]) -> Change:
    return alter(engines, is_draining=True)


def emptying(engines: Iterable[EngineId]) -> Change:
    """Take nothing new there, and have these drain: in one write, so that no half of it is left."""
    leaving = tuple(engines)
    return lambda plan: set_drained(True)(drain(leaving)(plan))


def take_back(job: JobId) -> Change:
    """Remove what a job placed, and cancel what it wants done."""

    def change(plan: NodePlan) -> NodePlan:
        kept = tuple(p for p in plan.placements if p.job != job)
        return want("cancel", job)(structs.replace(plan, placements=kept))

    return change


def add_task(task: StoreTask) -> Change:
    def change(plan: NodePlan) -> NodePlan:
        if any(wanted.task.job == task.job for wanted in plan.tasks):
            return plan
        return structs.replace(plan, tasks=(*plan.tasks, WantedTask(task=task)))

    return change


def want(wanted: str, job: JobId) -> Change:
    """Have a job's task run, pause or end."""
    return lambda plan: structs.replace(
        plan,
        tasks=tuple(
            structs.replace(t, wanted=wanted) if t.task.job == job else t for t in plan.tasks
        ),
    )


def forget_task(job: JobId) -> Change:
    return lambda plan: structs.replace(
        plan, tasks=tuple(t for t in plan.tasks if t.task.job != job)
    )


def lift(model: ModelId) -> Change:
    """Let a quarantined model be started again."""
    return lambda plan: structs.replace(
        plan, quarantined=tuple(q for q in plan.quarantined if q.model != model)
    )


def set_drained(is_drained: bool) -> Change:
    return lambda plan: structs.replace(plan, is_drained=is_drained)
