"""Have a model served: choose nodes, then go on with each of them until it serves."""

from collections.abc import Iterable

from msgspec import structs

from proto.effective import value
from proto.errors import Code, MeshError
from proto.group import Group
from proto.ids import ModelId, NodeId, node_of
from proto.jobs import NO_DRAFT, Job, Load, NodeProgress
from proto.memory import Grant
from services.scheduler.changes import remove, take_back
from services.scheduler.grouping.choosing import Frame, best, choices
from services.scheduler.grouping.unity import group_of, missing, nodes_of
from services.scheduler.jobs.files import roomiest
from services.scheduler.jobs.load_group import GroupLoad, no_way
from services.scheduler.jobs.load_part import Part
from services.scheduler.jobs.step import READY, Move, Step, ended, failed, progress, taken, words
from services.scheduler.naming import defaults, fetchable_model, known_model
from services.scheduler.placing.placing import Wish, check_named, check_versions, choose
from services.scheduler.placing.shortage import gigabytes
from services.scheduler.view import View


def advance(job: Job, order: Load, view: View) -> Step:
    try:
        wish = wish_of(order, view)
        if (ending := _ending(job, wish, view)) is not None:
            return ending
        nodes = _nodes(job, order, wish, view)
        check_versions(view, wish.model, [entry.node for entry in nodes])
    except MeshError as error:
        return _given_up(job, error, view)
    is_shared = any(entry.rank is not None for entry in nodes)
    if is_shared:
        moves = GroupLoad(job, order, wish, nodes, view).moves()
    else:
        moves = [Part(job, order, wish, entry, view).move() for entry in nodes]
    step = taken(job, moves, _slowest(moves))
    errors = [move.error for move in moves if move.error]
    if errors and not is_shared and (shared := _shared_instead(step.job, errors[0], order, view)):
        return shared
    if errors:
        return _given_up(step.job, errors[0], view)
    if all(move.is_settled for move in moves):
        return Step(ended(step.job, view.now_s, "done", _praise(job, wish, view)), step.changes)
    return step


def _ending(job: Job, wish: Wish, view: View) -> Step | None:
    """A group that serves nobody any more is taken apart before another is formed; one that drains
    ends first. None: nothing stands in the way.
    """
    group = group_of(view, wish.model)
    if job.nodes or group is None:
        return None
    placements = [p for _, p in view.placements(wish.model) if p.group == group]
    if lost := missing(view, group):
        apart = structs.replace(job, phase="taking apart", detail=f"without {words(lost)}")
        return Step(apart, tuple((node_of(p.engine), remove([p.engine])) for p in placements))
    if any(p.is_draining for p in placements):
        return Step(structs.replace(job, phase="draining", detail="its last life ends first"))
    return None


def wish_of(order: Load, view: View) -> Wish:
    """The order with the configuration's defaults. Raises MeshError for an unknown name."""
    model = _meant(view, order.model, order)
    told = defaults(view, model, order.model)
    return Wish(
        model=model,
        context=order.context or value(told.context, None),
        batch=order.batch or value(told.batch, None),
        slots=order.slots or value(told.slots, None),
        draft=_draft(view, order, value(told.draft, None)),
        is_pinned=order.is_pinned or value(told.pinned, False),
        idle_ttl_s=order.idle_ttl_s,
        fetches=order.fetches,
        makes_room=order.makes_room,
        lifts_quarantine=order.lifts_quarantine,
    )


def _meant(view: View, name: str, order: Load) -> ModelId:
    """Raises MeshError for what is on no node and not to be fetched, or cannot be."""
    known = known_model(view, name)
    if known is None and not order.fetches:
        raise MeshError(
            Code.MODEL_NOT_FOUND,
            f"No node has the files of {name!r}; `odyssai pull {name}` fetches them.",
            param="model",
        )
    return known or fetchable_model(view, name)


def _draft(view: View, order: Load, configured: str | None) -> ModelId | None:
    name = order.draft or configured
    if name is None or name == NO_DRAFT:
        return None
    try:
        return _meant(view, name, order)
    except MeshError as error:
        said = f"The draft of {order.model}: {error.message}"
        raise MeshError(error.code, said, param="draft") from error


def _nodes(job: Job, order: Load, wish: Wish, view: View) -> tuple[NodeProgress, ...]:
    """As they were chosen. How files can be shared is known once somebody has them: until then a
    single node fetches them. Raises MeshError.
    """
    waits_for_files = is_shared(order) and all(part.rank is None for part in job.nodes)
    if job.nodes and not (waits_for_files and view.stored(wish.model)):
        return job.nodes
    return _chosen(order, wish, view)


def is_shared(order: Load) -> bool:
    """It asks for several nodes together."""
    return Frame(order.way, order.ranks, (), order.cluster).is_group


def _chosen(order: Load, wish: Wish, view: View) -> tuple[NodeProgress, ...]:
    group = group_of(view, wish.model)
    if group is not None:
        grants = [p.grant for _, p in view.placements(wish.model) if p.group == group]
        return _as_it_is(order, wish.model, group, grants[0])
    if is_shared(order):
        return _sharing(order, wish, view)
    if order.nodes:
        check_named(view, order.nodes)
        nodes = order.nodes
    else:
        try:
            nodes = choose(view, wish, order.replicas)
        except MeshError as lone:
            if not _may_share(order, lone):
                raise
            return _sharing(order, wish, view, lone)
    return tuple(progress(node, "waiting") for node in dict.fromkeys(nodes))


def _may_share(order: Load, lone: MeshError) -> bool:
    """What fits on no node may be shared where the order leaves that open."""
    is_open = order.way == "auto" and order.ranks is None and order.replicas == 1
    is_open = is_open and order.draft in (None, NO_DRAFT)
    return is_open and not order.nodes and lone.code is Code.NO_MEMORY


def _sharing(
    order: Load, wish: Wish, view: View, lone: MeshError | None = None
) -> tuple[NodeProgress, ...]:
    """``lone``: why no node can have it alone. Raises MeshError."""
    check_named(view, order.nodes)
    if order.draft not in (None, NO_DRAFT):
        raise MeshError(
            Code.INVALID_REQUEST,
            "Several nodes together guess nothing ahead: load it without a draft model.",
            param="draft",
        )
    held = [node for node, _ in view.placements(wish.model)]
    if held:
        raise _loaded_otherwise(wish.model, held)
    stored = [known for _, known in view.stored(wish.model)]
    if not stored:
        return (progress(roomiest(view), "waiting", "its files come first"),)
    frame = Frame(order.way, order.ranks, order.nodes, order.cluster)
    found = [c for c in choices(view, stored[0], wish, frame) if c.way != "solo"]
    choice = best(found)
    if choice is None:
        together = no_way(wish.model, found)
        if lone is None:
            raise together
        if not found or stored[0].layout is None:
            raise lone
        raise MeshError(lone.code, f"{lone.message} {together.message}", param="model")
    return tuple(
        structs.replace(progress(share.node, "waiting"), rank=rank)
        for rank, share in enumerate(choice.shares)
    )


def _as_it_is(order: Load, model: ModelId, group: Group, grant: Grant) -> tuple[NodeProgress, ...]:
    """A group that is there already. Raises MeshError where another way was asked for."""
    nodes = nodes_of(group)
    is_as_asked = (
        order.way in ("auto", group.split)
        and order.ranks in (None, len(nodes))
        and (not order.nodes or set(order.nodes) == set(nodes))
        and order.cluster in ("", group.cluster)
        and order.replicas == 1
        and order.context in (None, grant.context)
        and order.batch in (None, grant.kv_tokens // max(1, grant.context))
    )
    if not is_as_asked:
        raise _loaded_otherwise(model, nodes)
    return tuple(
        structs.replace(progress(node, READY), rank=rank) for rank, node in enumerate(nodes)
    )


def _loaded_otherwise(model: ModelId, nodes: Iterable[NodeId]) -> MeshError:
    return MeshError(
        Code.CONFLICT,
        f"{model} is loaded on {words(nodes)} in another way: `odyssai unload {model}` first.",
        param="model",
    )


def _shared_instead(job: Job, error: MeshError, order: Load, view: View) -> Step | None:
    """Files that came from the hub turned out to be too large for one node."""
    if not _may_share(order, error) or any(part.phase == READY for part in job.nodes):
        return None
    try:
        nodes = _sharing(order, wish_of(order, view), view, error)
    except MeshError as nowhere:
        return _given_up(job, nowhere, view)
    return Step(structs.replace(job, phase="waiting", nodes=nodes))


def _given_up(job: Job, error: MeshError, view: View) -> Step:
    """What this job placed and nobody uses yet is taken back; replicas that serve stay."""
    is_whole = all(part.rank is None for part in job.nodes)
    unused = [part.node for part in job.nodes if part.phase != READY or not is_whole]
    changes = tuple((node, take_back(job.id)) for node in unused)
    return Step(failed(job, view.now_s, error), changes)


def _slowest(moves: Iterable[Move]) -> str:
    return next((m.progress.phase for m in moves if not m.is_settled), READY)


def _met(group: Group, view: View) -> str:
    """By which backend its ranks have."""
    leader = view.ranks.get(group.leader)
    formation = leader.formation if leader else None
    if formation is None or formation.backend == group.backend:
        return group.backend
    return f"{formation.backend}, since {group.backend} could not bring the ranks together"


def _praise(job: Job, wish: Wish, view: View) -> str:
    if job.phase == "accepted":
        return "already loaded"
    held = [(n, p) for n, p in view.placements(wish.model) if not p.is_draining]
    group = group_of(view, wish.model)
    if group is not None:
        grant = held[0][1].grant
        alone = f", without its draft {wish.draft}: groups have none" if wish.draft else ""
        how = f"{group.split}, {_met(group, view)}"
        return (
            f"loaded on {words(nodes_of(group))} together ({how}) with "
            f"{grant.kv_tokens // max(1, grant.context)} × {grant.context} tokens{alone}"
        )
    said = [
        f"on {node} with {p.grant.kv_tokens // max(1, p.grant.context)} × {p.grant.context} tokens "
        f"in {gigabytes(p.grant.total_bytes)}"
        for node, p in held
    ]
    return "loaded " + ", ".join(said)
