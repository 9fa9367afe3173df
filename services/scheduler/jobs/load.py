"""Have a model served: choose nodes, then go on with each of them until it serves."""

from collections.abc import Iterable

from proto.effective import value
from proto.errors import Code, MeshError
from proto.jobs import Job, Load, NodeProgress
from services.scheduler.changes import take_back
from services.scheduler.jobs.load_part import Part
from services.scheduler.jobs.step import READY, Move, Step, ended, failed, progress, taken
from services.scheduler.naming import defaults, fetchable_model, known_model
from services.scheduler.placing.placing import Wish, check_named, check_versions, choose
from services.scheduler.placing.shortage import gigabytes
from services.scheduler.view import View


def advance(job: Job, order: Load, view: View) -> Step:
    try:
        wish = wish_of(order, view)
        nodes = job.nodes or _chosen(order, wish, view)
        check_versions(view, wish.model, [entry.node for entry in nodes])
    except MeshError as error:
        return _given_up(job, error, view)
    moves = [Part(job, order, wish, entry, view).move() for entry in nodes]
    step = taken(job, moves, _slowest(moves))
    errors = [move.error for move in moves if move.error]
    if errors:
        return _given_up(step.job, errors[0], view)
    if all(move.is_settled for move in moves):
        return Step(ended(step.job, view.now_s, "done", _praise(job, wish, view)), step.changes)
    return step


def wish_of(order: Load, view: View) -> Wish:
    """The order with the configuration's defaults. Raises MeshError for an unknown name."""
    known = known_model(view, order.model)
    if known is None and not order.fetches:
        raise MeshError(
            Code.MODEL_NOT_FOUND,
            f"No node has the files of {order.model!r}; `odyssai pull {order.model}` fetches them.",
            param="model",
        )
    model = known or fetchable_model(view, order.model)
    told = defaults(view, model, order.model)
    return Wish(
        model=model,
        context=order.context or value(told.context, None),
        batch=order.batch or value(told.batch, None),
        slots=order.slots or value(told.slots, None),
        is_pinned=order.is_pinned or value(told.pinned, False),
        idle_ttl_s=order.idle_ttl_s,
        fetches=order.fetches,
        makes_room=order.makes_room,
        lifts_quarantine=order.lifts_quarantine,
    )


def _chosen(order: Load, wish: Wish, view: View) -> tuple[NodeProgress, ...]:
    if order.nodes:
        check_named(view, order.nodes)
        nodes = order.nodes
    else:
        nodes = choose(view, wish, order.replicas)
    return tuple(progress(node, "waiting") for node in dict.fromkeys(nodes))


def _given_up(job: Job, error: MeshError, view: View) -> Step:
    """What this job placed and nobody uses yet is taken back; replicas that serve stay."""
    unused = [part.node for part in job.nodes if part.phase != READY]
    changes = tuple((node, take_back(job.id)) for node in unused)
    return Step(failed(job, view.now_s, error), changes)


def _slowest(moves: Iterable[Move]) -> str:
    return next((m.progress.phase for m in moves if not m.is_settled), READY)


def _praise(job: Job, wish: Wish, view: View) -> str:
    if job.phase == "accepted":
        return "already loaded"
    held = [(n, p) for n, p in view.placements(wish.model) if not p.is_draining]
    said = [
        f"on {node} with {p.grant.kv_tokens // max(1, p.grant.context)} × {p.grant.context} tokens "
        f"in {gigabytes(p.grant.total_bytes)}"
        for node, p in held
    ]
    return "loaded " + ", ".join(said)
