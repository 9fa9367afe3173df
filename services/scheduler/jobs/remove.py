"""Delete a model's files. Refused where it is loaded."""

from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.jobs import Job, NodeProgress, Remove
from proto.store import DeleteTask
from services.scheduler.jobs.files import advance_task, lists, once_listed, settle
from services.scheduler.jobs.step import Step, failed, progress, words
from services.scheduler.naming import known_model, unknown
from services.scheduler.placing.placing import check_present
from services.scheduler.view import View


def advance(job: Job, order: Remove, view: View) -> Step:
    try:
        # Once it is gone nobody knows its name any more: the order's own is as good.
        model = known_model(view, order.model) or order.model
        nodes = job.nodes or _chosen(order, model, view)
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    task = DeleteTask(job=job.id, model=model)
    moves = [
        once_listed(
            advance_task(job, part.node, task, view),
            part,
            not lists(view, part.node, model),
            job,
            view,
        )
        for part in nodes
    ]
    gone = words(part.node for part in nodes)
    return settle(job, moves, view, "deleting", f"{model} is deleted on {gone}")


def _chosen(order: Remove, model: ModelId, view: View) -> tuple[NodeProgress, ...]:
    check_present(view, order.nodes)
    nodes = [node for node, _ in view.stored(model) if node in order.nodes or not order.nodes]
    if not nodes:
        raise unknown(view, order.model)
    loaded = [node for node, _ in view.placements(model) if node in nodes]
    for user, placement in view.drafted_by(model):
        if user in nodes:
            raise MeshError(
                Code.CONFLICT,
                f"{model} drafts for {placement.model} on {user}: "
                f"`odyssai load {placement.model} --draft none` first.",
                param="model",
            )
    if loaded:
        raise MeshError(
            Code.CONFLICT,
            f"{model} is loaded on {words(loaded)}: `odyssai unload {model}` first.",
            param="model",
        )
    return tuple(progress(node, "waiting") for node in nodes)
