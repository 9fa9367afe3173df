"""Serve a model no longer: drain its engines, wait until their memory is free."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Job, NodeProgress, Unload
from proto.plan import Placement
from services.scheduler.changes import Change, alter, drain, remove
from services.scheduler.grouping.unity import nodes_of
from services.scheduler.jobs.step import DONE, Step, ended, failed, progress, words
from services.scheduler.naming import known_model, unknown
from services.scheduler.view import View


def advance(job: Job, order: Unload, view: View) -> Step:
    """The placements leave the plan when nothing runs there any more (``draining.py``)."""
    model = known_model(view, order.model)
    if model is None:
        return Step(failed(job, view.now_s, unknown(view, order.model)))
    if not job.nodes:
        return _begun(job, order, view)
    nodes = tuple(progress(part.node, _phase(part, model, view), part.detail) for part in job.nodes)
    job = structs.replace(job, nodes=nodes)
    if all(part.phase == DONE for part in nodes):
        freed = words(part.node for part in nodes)
        return Step(ended(job, view.now_s, "done", f"unloaded from {freed}"))
    return Step(structs.replace(job, phase="draining"), _changes(job, order, view))


def undo(job: Job, order: Unload, view: View) -> tuple[tuple[NodeId, Change], ...]:
    """A cancelled unload leaves the model as it was."""
    model = known_model(view, order.model)
    return tuple(
        (node, alter([placement.engine], is_draining=False))
        for node, placement in (view.placements(model) if model else ())
        if any(part.node == node for part in job.nodes)
    )


def _begun(job: Job, order: Unload, view: View) -> Step:
    placed = dict(view.placements(known_model(view, order.model) or order.model))
    held = {
        node: placement
        for node, placement in placed.items()
        if not order.nodes or not set(order.nodes).isdisjoint(_all_of_it(node, placement))
    }
    missing = [node for node in order.nodes if node not in view.plans]
    if missing:
        error = MeshError(Code.NOT_FOUND, f"There is no node {words(missing)}.", param="node")
        return Step(failed(job, view.now_s, error))
    if not held:
        return Step(ended(job, view.now_s, "done", "it was not loaded"))
    nodes = tuple(progress(node, "draining", placement.engine) for node, placement in held.items())
    job = structs.replace(job, nodes=nodes, phase="draining")
    return Step(job, _changes(job, order, view))


def _all_of_it(node: NodeId, placement: Placement) -> tuple[NodeId, ...]:
    """The nodes of an engine: one, or all of its group's."""
    return nodes_of(placement.group) if placement.group else (node,)


def _changes(job: Job, order: Unload, view: View) -> tuple[tuple[NodeId, Change], ...]:
    change = remove if order.is_forced else drain
    return tuple(
        (part.node, change([placement.engine]))
        for part in job.nodes
        for placement in view.plan(part.node).placements
        if placement.engine == part.detail and (order.is_forced or not placement.is_draining)
    )


def _phase(part: NodeProgress, model: str, view: View) -> str:
    """Done when neither the plan nor the agent nor the engine itself speaks of it.

    Of a node that is not heard the plan is enough: its agent obeys it when it is back.
    """
    if any(p.engine == part.detail for p in view.plan(part.node).placements):
        return "draining"
    listed = any(
        status.engine == part.detail
        for status in (view.nodes[part.node].engines if part.node in view.nodes else ())
    )
    return "stopping" if listed or part.detail in view.engines else DONE
