"""Copy a model from one node to others."""

from dataclasses import replace

from msgspec import structs

from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.jobs import Job, NodeProgress, Sync
from proto.store import CopyTask, StoredModel
from services.scheduler.jobs.files import advance_task, once_listed, settle
from services.scheduler.jobs.step import Move, Step, ended, failed, progress, words
from services.scheduler.naming import known_model, unknown
from services.scheduler.placing.placing import check_present
from services.scheduler.view import View


def advance(job: Job, order: Sync, view: View) -> Step:
    try:
        model = known_model(view, order.model)
        if model is None:
            raise unknown(view, order.model)
        source = _source(order, model, view)
        nodes = job.nodes or _chosen(order, model, source, view)
    except MeshError as error:
        return Step(failed(job, view.now_s, error))
    if not nodes:
        return Step(ended(job, view.now_s, "done", f"every node has the files of {source}"))
    moves = [_move(job, part, model, source, view) for part in nodes]
    there = words(part.node for part in nodes)
    return settle(job, moves, view, "copying", f"the files of {source} are on {there}")


def _move(job: Job, part: NodeProgress, model: ModelId, source: NodeId, view: View) -> Move:
    task = CopyTask(job=job.id, model=model, source=source)
    prints = {node: known.fingerprint for node, known in view.stored(model)}
    is_same = prints.get(part.node) == prints.get(source)
    move = once_listed(advance_task(job, part.node, task, view), part, is_same, job, view)
    if move.progress.phase != "running":
        return move
    return replace(move, progress=structs.replace(move.progress, phase="copying"))


def _source(order: Sync, model: ModelId, view: View) -> NodeId:
    stored = dict(view.stored(model))
    if order.source is not None:
        if order.source not in stored:
            raise MeshError(
                Code.NOT_FOUND,
                f"{order.source} does not have {model}; these do: {words(stored)}.",
                param="source",
            )
        return order.source
    _check_agreement(model, stored, order)
    if not stored:
        raise MeshError(
            Code.NOT_FOUND, f"No node that is heard has the files of {model}.", param="model"
        )
    return next(iter(stored))


def _check_agreement(model: ModelId, stored: dict[NodeId, StoredModel], order: Sync) -> None:
    """Nodes that are to be overwritten have no say."""
    prints = {n: m.fingerprint for n, m in stored.items() if n not in order.nodes}
    if len(set(prints.values())) > 1:
        told = ", ".join(f"{node} {mark[:12]}" for node, mark in prints.items())
        raise MeshError(
            Code.CONFLICT,
            f"Nodes hold different files of {model} ({told}): say whose with --from.",
            param="source",
        )


def _chosen(order: Sync, model: ModelId, source: NodeId, view: View) -> tuple[NodeProgress, ...]:
    """Those that do not have the same files yet."""
    check_present(view, order.nodes)
    stored = dict(view.stored(model))
    wanted = stored[source].fingerprint
    return tuple(
        progress(node, "waiting")
        for node in dict.fromkeys(order.nodes or sorted(view.nodes))
        if node != source and (node not in stored or stored[node].fingerprint != wanted)
    )
