"""Fetch a model from the hub to nodes."""

from proto.effective import target
from proto.errors import MeshError
from proto.jobs import Job, NodeProgress, Pull
from proto.store import PullTask
from services.scheduler.jobs.files import advance_task, lists, once_listed, roomiest, settle
from services.scheduler.jobs.step import Step, failed, progress, words
from services.scheduler.placing.placing import check_present
from services.scheduler.view import View


def advance(job: Job, order: Pull, view: View) -> Step:
    try:
        nodes = job.nodes or _chosen(order, view)
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    model = target(view.config, order.model)
    task = PullTask(job=job.id, model=model, revision=order.revision)
    moves = [
        once_listed(
            advance_task(job, part.node, task, view),
            part,
            lists(view, part.node, model),
            job,
            view,
        )
        for part in nodes
    ]
    there = words(part.node for part in nodes)
    return settle(job, moves, view, "fetching", f"{model} is on {there}")


def _chosen(order: Pull, view: View) -> tuple[NodeProgress, ...]:
    check_present(view, order.nodes)
    nodes = order.nodes or (roomiest(view),)
    return tuple(progress(node, "waiting") for node in dict.fromkeys(nodes))
