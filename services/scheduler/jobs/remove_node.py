"""Unload all that a node holds, then forget it and withdraw its credential."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Job, RemoveNode
from proto.plan import NodePlan
from services.scheduler.changes import Change, alter, emptying, remove, set_drained
from services.scheduler.grouping.rescue import REGROUPING, elsewhere
from services.scheduler.jobs.step import Follow, Forget, Step, ended, failed, progress, words
from services.scheduler.view import View


def advance(job: Job, order: RemoveNode, view: View) -> Step:
    node = order.node
    if node not in view.plans and node not in view.stores and node not in view.nodes:
        there = words(sorted({*view.plans, *view.nodes}))
        error = MeshError(Code.NOT_FOUND, f"There is no node {node!r}, only {there}.", param="node")
        return Step(failed(job, view.now_s, error))
    left = [p.engine for p in view.plan(node).placements]
    is_heard = node in view.nodes
    listed = [status.engine for status in view.nodes[node].engines] if is_heard else []
    leaving = structs.replace(job, phase="unloading", nodes=(progress(node, "draining"),))
    loads = elsewhere(view, node)[0] if job.phase == "accepted" else []
    follow = tuple(Follow(load, REGROUPING) for load in loads)
    if left and not is_heard:
        return Step(leaving, ((node, remove(left)), (node, _without_tasks)), follow)
    if left or listed:
        changes = ((node, emptying(left)), (node, _without_tasks))
        return Step(leaving, changes, follow)
    return Step(ended(job, view.now_s, "done", f"{node} is forgotten"), acts=(Forget(node),))


def undo(job: Job, order: RemoveNode, view: View) -> tuple[tuple[NodeId, Change], ...]:
    left = [p.engine for p in view.plan(order.node).placements]
    if order.node not in view.plans:
        return ()
    return ((order.node, set_drained(False)), (order.node, alter(left, is_draining=False)))


def _without_tasks(plan: NodePlan) -> NodePlan:
    return structs.replace(plan, tasks=())
