"""Unload all that a node holds, then forget it and withdraw its credential."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Job, RemoveNode
from proto.plan import NodePlan
from services.scheduler.changes import Change, alter, drain, remove, set_drained
from services.scheduler.jobs.step import Forget, Step, ended, failed, progress, words
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
    emptying = structs.replace(job, phase="unloading", nodes=(progress(node, "draining"),))
    if left and not is_heard:
        return Step(emptying, ((node, remove(left)), (node, _without_tasks)))
    if left or listed:
        changes: list[tuple[NodeId, Change]] = [(node, set_drained(True)), (node, drain(left))]
        return Step(emptying, (*changes, (node, _without_tasks)))
    return Step(ended(job, view.now_s, "done", f"{node} is forgotten"), acts=(Forget(node),))


def undo(job: Job, order: RemoveNode, view: View) -> tuple[tuple[NodeId, Change], ...]:
    left = [p.engine for p in view.plan(order.node).placements]
    if order.node not in view.plans:
        return ()
    return ((order.node, set_drained(False)), (order.node, alter(left, is_draining=False)))


def _without_tasks(plan: NodePlan) -> NodePlan:
    return structs.replace(plan, tasks=())
