"""Start a node's agent anew, and its engines one after the other if they are asked for, too: of one
that is a rank of several, all of them on all their nodes, since they are one engine.
"""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import EngineId, NodeId
from proto.jobs import Job, NodeProgress, Restart
from proto.plan import Placement
from services.scheduler.changes import Change, alter
from services.scheduler.jobs.step import (
    DONE,
    READY,
    RestartTheAgent,
    Step,
    ended,
    failed,
    progress,
)
from services.scheduler.placing.placing import check_present
from services.scheduler.view import View

ENDING = "ending"
"""Of the agent: its detail is the life that ends, by its boot."""
BACK_S = 30.0
"""An agent that says nothing for so long after it went will not come by itself."""


def advance(job: Job, order: Restart, view: View) -> Step:
    """``job.nodes`` holds the agent first, then a line for each engine, its id in ``detail``."""
    if not job.nodes:
        return _begun(job, order, view)
    agent = job.nodes[0]
    if agent.phase == ENDING:
        return _reborn(job, agent, order, view)
    return _next_engine(job, order, view)


def _begun(job: Job, order: Restart, view: View) -> Step:
    try:
        check_present(view, [order.node])
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    agent = progress(order.node, ENDING, view.nodes[order.node].boot)
    engines = [
        progress(order.node, "waiting", placement.engine)
        for placement in view.plan(order.node).placements
        if order.engines and not placement.is_draining
    ]
    begun = structs.replace(job, phase="restarting the agent", nodes=(agent, *engines))
    return Step(begun, acts=(RestartTheAgent(order.node),))


def _reborn(job: Job, agent: NodeProgress, order: Restart, view: View) -> Step:
    beat = view.nodes.get(order.node)
    if beat is None or beat.boot == agent.detail:
        if view.age_s(job) < BACK_S:
            return Step(job)
        lost = f"The agent of {order.node} has not come back: look at its log there."
        return Step(failed(job, view.now_s, MeshError(Code.NO_ENGINE, lost, param="node")))
    nodes = (progress(order.node, DONE), *job.nodes[1:])
    return Step(structs.replace(job, phase="restarting engines", nodes=nodes))


def _next_engine(job: Job, order: Restart, view: View) -> Step:
    """One at a time, so that the others serve meanwhile."""
    for at, part in enumerate(job.nodes):
        if part.phase in (DONE, READY):
            continue
        placement = _placement(EngineId(part.detail), order, view)
        if placement is None:
            return Step(_with(job, at, DONE))
        if part.phase == "waiting":
            return Step(_with(job, at, "restarting"), _anew(placement, order.node, view))
        if not all(
            _is_back(node, each, view) for node, each in _ranks(placement, order.node, view)
        ):
            return Step(job)
        return Step(_with(job, at, READY))
    return Step(ended(job, view.now_s, "done", f"{order.node} has started anew"))


def _anew(placement: Placement, node: NodeId, view: View) -> tuple[tuple[NodeId, Change], ...]:
    """All ranks of a group together: one by one, each would end all others. Of a restart that was
    begun and not written down, the ranks that lack it get it.
    """
    ranks = _ranks(placement, node, view)
    lives = {each.life for _, each in ranks}
    life = max(lives) + (len(lives) == 1)
    return tuple((where, alter([each.engine], life=life)) for where, each in ranks)


def _ranks(placement: Placement, node: NodeId, view: View) -> list[tuple[NodeId, Placement]]:
    """Those of its group, or it alone."""
    if placement.group is None:
        return [(node, placement)]
    return [it for it in view.placements(placement.model) if it[1].group == placement.group]


def _is_back(node: NodeId, placement: Placement, view: View) -> bool:
    status = view.status(node, placement.engine)
    return status is not None and status.life == placement.life and status.phase == READY


def _placement(engine: EngineId, order: Restart, view: View) -> Placement | None:
    return next((p for p in view.plan(order.node).placements if p.engine == engine), None)


def _with(job: Job, at: int, phase: str) -> Job:
    nodes = list(job.nodes)
    nodes[at] = structs.replace(nodes[at], phase=phase)
    return structs.replace(job, nodes=tuple(nodes))
