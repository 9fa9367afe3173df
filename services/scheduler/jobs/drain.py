"""Give a node nothing new, and see that what it alone serves is served elsewhere first."""

from msgspec import structs

from proto.errors import MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.jobs import Drain, Job, Load, Undrain
from proto.plan import Placement
from proto.presence import HEARTBEAT_S
from services.scheduler.changes import Change, emptying, set_drained
from services.scheduler.grouping.rescue import REGROUPING, elsewhere
from services.scheduler.grouping.unity import nodes_of
from services.scheduler.jobs.step import Follow, Step, ended, failed, progress, words
from services.scheduler.placing.placing import Wish, check_present, choose
from services.scheduler.view import View

QUIET_S = 1.5 * HEARTBEAT_S
"""Nothing runs there in two heartbeats of each engine."""


def advance(job: Job, order: Drain, view: View) -> Step:
    try:
        check_present(view, [order.node])
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    if view.plan(order.node).is_drained:
        return _emptied(job, order.node, view)
    return _moving(job, order.node, view)


def undo(job: Job, order: Drain, view: View) -> tuple[tuple[NodeId, Change], ...]:
    return ((order.node, set_drained(False)),)


def advance_undrain(job: Job, order: Undrain, view: View) -> Step:
    """Also a node that is not heard: it takes requests as soon as it is back."""
    try:
        check_present(view, () if order.node in view.plans else [order.node])
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    done = ended(job, view.now_s, "done", f"{order.node} takes requests again")
    return Step(done, ((order.node, set_drained(False)),))


def _moving(job: Job, node: NodeId, view: View) -> Step:
    """Load elsewhere, where it fits, what nobody else serves; what does not fit is told."""
    stuck: list[str] = []
    shared = [p for p in view.plan(node).placements if p.group is not None]
    for model in _only_here(node, view):
        if any(p.model == model for p in shared):
            continue
        load = _load_of(job.id, model, view)
        if load is None:
            held = next(p for p in view.plan(node).placements if p.model == model)
            there = _elsewhere(held, node, view)
            if there is None:
                stuck.append(model)
                continue
            order = _order(held, there)
            moving = structs.replace(job, phase="moving", detail=f"{model} goes to {there}")
            return Step(moving, acts=(Follow(order, _sake(job.id)),))
        if not load.is_over:
            return Step(structs.replace(job, phase="moving", detail=f"waiting for {model}"))
        stuck.append(model)
    loads, unfit = elsewhere(view, node)
    stuck += unfit
    detail = f"no other node has room for {words(stuck)}" if stuck else ""
    draining = structs.replace(job, phase="draining", detail=detail)
    emptied = emptying(p.engine for p in shared)
    return Step(draining, ((node, emptied),), tuple(Follow(load, REGROUPING) for load in loads))


def _only_here(node: NodeId, view: View) -> list[ModelId]:
    here = [p.model for p in view.plan(node).placements if not p.is_draining]
    elsewhere = {
        p.model
        for other, plan in view.plans.items()
        if other != node and other in view.nodes and not plan.is_drained
        for p in plan.placements
        if p.group is None or node not in nodes_of(p.group)
        if not p.is_draining and _is_ready(other, p.engine, view)
    }
    return [model for model in dict.fromkeys(here) if model not in elsewhere]


def _is_ready(node: NodeId, engine: str, view: View) -> bool:
    beat = view.nodes.get(node)
    return beat is not None and any(s.engine == engine and s.phase == "ready" for s in beat.engines)


def _elsewhere(held: Placement, node: NodeId, view: View) -> NodeId | None:
    wish = Wish(
        model=held.model,
        context=held.asked_context,
        batch=held.asked_batch,
        draft=held.draft.model if held.draft else None,
        makes_room=False,
    )
    try:
        return choose(view, wish, 1, without=frozenset([node]))[0]
    except MeshError:
        return None


def _order(held: Placement, there: NodeId) -> Load:
    """It goes on with what was asked for, and with its draft."""
    return Load(
        model=held.model,
        nodes=(there,),
        context=held.asked_context,
        batch=held.asked_batch,
        draft=held.draft.model if held.draft else None,
        makes_room=False,
    )


def _load_of(job: JobId, model: ModelId, view: View) -> Job | None:
    return next(
        (
            other
            for other in view.jobs.values()
            if other.by == _sake(job)
            and isinstance(other.order, Load)
            and other.order.model == model
        ),
        None,
    )


def _sake(job: JobId) -> str:
    """Who asked for a load: the second word is the job that it is part of."""
    return f"drain {job}"


def _emptied(job: Job, node: NodeId, view: View) -> Step:
    busy = sum(beat.running + beat.queued for beat in view.engines.values() if beat.node == node)
    heard = view.nodes[node].is_draining
    if busy or not heard:
        told = f"{busy} requests still run" if heard else "its agent has not heard yet"
        part = progress(node, "draining", told)
        return Step(structs.replace(job, phase="draining", nodes=(part,)))
    if job.phase != "quiet":
        return Step(structs.replace(job, phase="quiet", nodes=(progress(node, "quiet"),)))
    if view.age_s(job) < QUIET_S:
        return Step(job)
    detail = "; ".join(filter(None, (f"nothing runs on {node}", job.detail)))
    return Step(ended(job, view.now_s, "done", detail))
