"""The whole mesh at one look: pure, from what a scheduler knows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from msgspec import structs

from proto.ids import ModelId, NodeId
from proto.jobs import Job
from proto.overview import (
    EngineView,
    LookAround,
    MemoryView,
    ModelState,
    ModelView,
    NodeState,
    NodeView,
    Overview,
    StoredView,
)
from proto.plan import Placement
from proto.presence import EngineBeat, EnginePhase, ModelKind
from proto.store import StoredModel
from services.scheduler.view import View

COMING = ("waiting", "fetching", "starting", "loading", "crashed")
BEFORE_A_PLACE = ("waiting", "fetching", "refused")
"""Of a model that an agent was started with."""

Shelf = list[tuple[NodeId, StoredModel]]
"""The files of one model on all nodes, heard or not."""


def look_around(asked: LookAround, view: View, leader: str, epoch: int) -> Overview:
    engines = _engines(view)
    on_node, of_model = defaultdict(list), defaultdict(list)
    for engine in engines:
        on_node[engine.node].append(engine)
        of_model[engine.model].append(engine)
    shelves = _shelves(view)
    shut_out = {q.model for plan in view.plans.values() for q in plan.quarantined}
    return Overview(
        nodes=tuple(
            _node(node, tuple(on_node[node]), view)
            for node in sorted({*view.nodes, *view.plans, *view.stores})
        ),
        models=tuple(
            _model(model, tuple(of_model[model]), shelves.get(model, []), model in shut_out, view)
            for model in sorted({*shelves, *of_model, *shut_out})
        ),
        jobs=tuple(_jobs(asked, view.jobs.values())),
        leader=leader,
        epoch=epoch,
    )


def _shelves(view: View) -> dict[ModelId, Shelf]:
    shelves: dict[ModelId, Shelf] = {}
    for node in sorted(view.stores):
        for known in view.stores[node].models:
            shelves.setdefault(known.id, []).append((node, known))
    return shelves


def _jobs(asked: LookAround, jobs: Iterable[Job]) -> list[Job]:
    told = [
        job
        for job in jobs
        if (asked.job is None or job.id == asked.job)
        and (job.ended_s is None or job.ended_s >= asked.jobs_since_s)
    ]
    return sorted(told, key=lambda job: (job.created_s, job.id), reverse=True)


def _engines(view: View) -> list[EngineView]:
    """All that plans want, and all that is heard without being in one."""
    planned = [
        _planned(node, placement, view)
        for node in sorted(view.plans)
        for placement in view.plans[node].placements
    ]
    known = {engine.engine for engine in planned}
    foreign = [
        _foreign(beat, ModelId(card.id))
        for beat in view.engines.values()
        if beat.engine not in known
        for card in beat.models
    ]
    return planned + foreign


def _planned(node: NodeId, placement: Placement, view: View) -> EngineView:
    status = view.status(node, placement.engine)
    phase: EnginePhase = status.phase if status else "waiting"
    return _engine(
        view.engines.get(placement.engine),
        EngineView(
            engine=placement.engine,
            model=placement.model,
            node=node,
            phase="draining" if placement.is_draining and phase == "ready" else phase,
            detail=(status.detail if status else "") or _rank_detail(placement, view),
            grant=placement.grant,
            is_pinned=placement.is_pinned,
            origin=placement.origin,
            crashes=status.crashes if status else 0,
            rank=placement.group.rank_of(placement.engine) if placement.group else None,
            group=placement.group,
        ),
    )


def _rank_detail(placement: Placement, view: View) -> str:
    """How far a rank is with its group, until all are ready."""
    rank = view.ranks.get(placement.engine)
    if rank is None or rank.phase == "ready":
        return ""
    return f"{rank.phase} {rank.detail}".strip()


def _foreign(beat: EngineBeat, model: ModelId) -> EngineView:
    phase: EnginePhase = beat.state
    detail = "" if beat.circuit == "closed" else f"left alone: {beat.trouble}"
    return _engine(
        beat,
        EngineView(engine=beat.engine, model=model, node=beat.node, phase=phase, detail=detail),
    )


def _engine(beat: EngineBeat | None, engine: EngineView) -> EngineView:
    if beat is None:
        return engine
    return structs.replace(
        engine,
        measured_bytes=beat.memory_bytes,
        slots=beat.slots,
        running=beat.running,
        queued=beat.queued,
        tokens_per_s=beat.tokens_per_s,
        idle_s=beat.idle_s,
        drafting=beat.drafting,
    )


def _node(node: NodeId, held: tuple[EngineView, ...], view: View) -> NodeView:
    beat = view.nodes.get(node)
    plan = view.plan(node)
    store = view.stores.get(node)
    state: NodeState = "silent" if beat is None else "draining" if plan.is_drained else "alive"
    return NodeView(
        node=node,
        state=state,
        host=beat.host if beat else "",
        platform=beat.platform if beat else "",
        memory=_memory(node, held, view),
        free_disk_bytes=store.free_disk_bytes if store else 0,
        engines=(*held, *_not_placed(node, held, view)),
        tasks=beat.tasks if beat else (),
        quarantined=plan.quarantined,
        agent_version=beat.version if beat else "",
        links=beat.links if beat else (),
        boot=beat.boot if beat else "",
    )


def _not_placed(node: NodeId, held: tuple[EngineView, ...], view: View) -> Iterator[EngineView]:
    """What an agent was started with and has no place for, or not yet."""
    beat = view.nodes.get(node)
    known = {engine.engine for engine in held}
    for status in beat.engines if beat else ():
        if status.engine not in known and status.phase in BEFORE_A_PLACE:
            yield EngineView(
                engine=status.engine,
                model=status.model,
                node=node,
                phase=status.phase,
                detail=status.detail,
                origin="flag",
            )


def _memory(node: NodeId, held: tuple[EngineView, ...], view: View) -> MemoryView:
    beat = view.nodes.get(node)
    return MemoryView(
        total=beat.memory_bytes if beat else 0,
        wirable=beat.wirable_bytes if beat else 0,
        reserved=sum(p.grant.total_bytes for p in view.plan(node).placements),
        measured=sum(engine.measured_bytes for engine in held),
        free=max(0, view.free_bytes(node)),
    )


def _model(
    model: ModelId,
    engines: tuple[EngineView, ...],
    shelf: Shelf,
    is_quarantined: bool,
    view: View,
) -> ModelView:
    known = shelf[0][1] if shelf else None
    return ModelView(
        model=model,
        state=_state(engines, is_quarantined, view),
        aliases=_aliases(model, shelf, view),
        kind=known.kind if known else _card_kind(model, engines, view),
        family=known.family if known else "",
        quantization=known.quantization if known else "",
        footprint=known.footprint if known else None,
        stored=tuple(_stored(node, found) for node, found in shelf),
        engines=engines,
        is_same_everywhere=len({found.fingerprint for _, found in shelf}) < 2,
    )


def _state(engines: tuple[EngineView, ...], is_quarantined: bool, view: View) -> ModelState:
    """The best that can be said of it."""
    ready = [engine for engine in engines if engine.phase == "ready" and not engine.rank]
    if ready:
        return "upstream" if all(_upstream(engine, view) for engine in ready) else "loaded"
    if any(engine.phase in COMING for engine in engines):
        return "loading"
    return "quarantined" if is_quarantined else "stored"


def _upstream(engine: EngineView, view: View) -> bool:
    beat = view.engines.get(engine.engine)
    return beat is not None and beat.upstream is not None


def _aliases(model: ModelId, shelf: Shelf, view: View) -> tuple[ModelId, ...]:
    own = [alias for _, known in shelf for alias in known.aliases]
    placed = [alias for _, placement in view.placements(model) for alias in placement.aliases]
    return tuple(dict.fromkeys([*own, *placed]))


def _card_kind(model: ModelId, engines: tuple[EngineView, ...], view: View) -> ModelKind:
    """Of a model that is on no disk of ours, by what its engine says."""
    beats = [view.engines[e.engine] for e in engines if e.engine in view.engines]
    cards = [card for beat in beats for card in beat.models if card.id == model]
    return cards[0].kind if cards else "llm"


def _stored(node: NodeId, known: StoredModel) -> StoredView:
    return StoredView(
        node=node,
        revision=known.revision,
        fingerprint=known.fingerprint,
        disk_bytes=known.disk_bytes,
    )
