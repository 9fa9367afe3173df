"""Write a model anew in another form, on a node that has it."""

from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.jobs import Convert, Job, NodeProgress
from proto.store import ConvertTask
from services.scheduler.jobs.files import advance_task, lists, once_listed, settle
from services.scheduler.jobs.step import Step, failed, progress, words
from services.scheduler.naming import known_model, unknown
from services.scheduler.view import View


def advance(job: Job, order: Convert, view: View) -> Step:
    try:
        model = known_model(view, order.model)
        if model is None:
            raise unknown(view, order.model)
        part = job.nodes[0] if job.nodes else _chosen(order, model, view)
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    name = _name(order, model)
    task = ConvertTask(
        job=job.id,
        model=model,
        name=name,
        bits=order.bits,
        group_size=order.group_size,
        dtype=order.dtype,
    )
    is_listed = lists(view, part.node, name)
    move = once_listed(advance_task(job, part.node, task, view), part, is_listed, job, view)
    return settle(job, [move], view, "converting", f"{name} is on {part.node}")


def _chosen(order: Convert, model: ModelId, view: View) -> NodeProgress:
    """The node that was named, else the one with the most free disk of those that have it."""
    if order.bits is None and order.dtype is None:
        raise MeshError(
            Code.INVALID_REQUEST, "Say into what: bits to quantise to, or a dtype.", param="bits"
        )
    holders = [node for node, _ in view.stored(model)]
    if order.node is not None and order.node not in holders:
        raise MeshError(
            Code.NOT_FOUND,
            f"{order.node} does not have {model}; these do: {words(holders)}.",
            param="node",
        )
    if not holders:
        raise MeshError(Code.NOT_FOUND, f"No node that is heard has the files of {model}.")

    def free(node: NodeId) -> int:
        return view.stores[node].free_disk_bytes

    node = order.node or max(holders, key=free)
    name = _name(order, model)
    if any(known.id == name for known in view.stores[node].models):
        raise MeshError(
            Code.CONFLICT,
            f"{node} has a model {name} already: choose another --name, or remove that one.",
            param="name",
        )
    return progress(node, "waiting")


def _name(order: Convert, model: ModelId) -> ModelId:
    """The old one's last part with its new form."""
    form = "-".join(
        part for part in (f"{order.bits}bit" if order.bits else "", order.dtype or "") if part
    )
    return order.name or ModelId(f"{model.rpartition('/')[2]}-{form}")
