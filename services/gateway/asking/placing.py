"""Where a request goes without a scheduler: by the gateway's own view of the fleet."""

from collections.abc import Callable

from bus.fleet import Fleet, card_of
from bus.router import Router
from proto.errors import Code, MeshError
from proto.placement import Candidate, Schedule
from proto.presence import ModelKind
from proto.refusing import listing, not_served
from services.gateway.asking.shelf import Shelf


def sole_holder(question: Schedule, fleet: Fleet) -> Candidate | None:
    """The one engine that serves the model, where there is just one and it did not fail yet."""
    holders = fleet.reachable(question.model, local_only=question.local_only)
    if len(holders) != 1 or question.avoid:
        return None
    return Candidate(engine=holders[0].engine, boot=holders[0].boot)


def pick(question: Schedule, router: Router, fleet: Fleet) -> tuple[Candidate, ...]:
    """As a scheduler would rank them. Raises MeshError when there is none."""
    candidates = router.route(question)
    if not candidates:
        expect_stays(question.model, fleet, local_only=question.local_only)
        raise _missing(question.model, fleet)
    return candidates


def expect_stays(model: str, fleet: Fleet, *, local_only: bool) -> None:
    """Raises MeshError when a request that must not leave the local network could only do so."""
    holders = fleet.holders(model)
    if not local_only or not holders or fleet.reachable(model, local_only=True):
        return
    raise MeshError(
        Code.FORBIDDEN,
        f"The model {model!r} is served outside the local network, and this request may not leave "
        "it: its key, the mesh or its X-Odyssai-Local-Only header says local only. Ask a model of "
        "GET /v1/models, or have that lifted.",
        param="model",
    )


def first_that_chats(fleet: Fleet, may_use: Callable[[str], bool]) -> str:
    """The model of a request that names none: the first by its id of those that its client may
    use and that are served in the local network. Raises MeshError.
    """
    near = {
        card.id
        for beat in fleet.serving()
        for card in beat.models
        if not (beat.leaves or card.leaves)
    }
    for card in fleet.models():
        if card.id not in near:
            continue
        if card.kind in ("llm", "vlm") and card.has_chat_template and may_use(card.id):
            return card.id
    raise MeshError(
        Code.NO_ENGINE, "No model that can chat is there at this moment. Try again.",
        retry_after_s=1.0,
    )  # fmt: skip


def other_kind(model: str, kind: ModelKind, fleet: Fleet, shelf: Shelf) -> ModelKind | None:
    """What else than ``kind`` a model is, if that is known.

    What a model of an upstream is for, only the upstream can tell.
    """
    known = [(beat, card_of(beat, model)) for beat in fleet.engines()]
    kinds = {card.kind for beat, card in known if card is not None and not beat.upstream}
    is_upstream = any(card is not None and beat.upstream for beat, card in known)
    stored = shelf.find(model)
    if stored is not None:
        kinds.add(stored.kind)
    return min(kinds) if kinds and kind not in kinds and not is_upstream else None


def expect_kind(
    model: str, kind: ModelKind, fleet: Fleet, shelf: Shelf, may_use: Callable[[str], bool]
) -> None:
    """Raises MeshError when the model is there, or would be loaded, and for something else; it
    names those that the client ``may_use``.
    """
    other = other_kind(model, kind, fleet, shelf)
    if other is None:
        return
    fit = [card.id for card in fleet.models() if card.kind == kind and may_use(card.id)]
    there = ", ".join(fit) or "none here yet"
    raise MeshError(
        Code.INVALID_REQUEST,
        f"The model {model!r} is no {kind} but of kind {other}; choose one that is: {there}.",
        param="model",
    )


def _missing(model: str, fleet: Fleet) -> MeshError:
    """What nobody serves may still lie on a disk: only a scheduler could tell, and load it."""
    provider = fleet.provider_of(model)
    if provider is not None and card_of(provider, model) is None:
        return not_served(provider, model)
    if any(card_of(engine, model) for engine in fleet.engines()):
        why = "; it is loading or recovering. Try again."
    else:
        why = (
            ", and no scheduler answers that could load it. Try again once one runs; "
            "`odyssai nodes` tells what does."
        )
    return MeshError(
        Code.NO_ENGINE, f"No engine serves {model!r} at this moment{why}", retry_after_s=1.0
    )


def unknown(model: str, fleet: Fleet) -> MeshError:
    provider = fleet.provider_of(model)
    if provider is not None:
        return not_served(provider, model)
    there = listing(card.id for card in fleet.models())
    return MeshError(
        Code.MODEL_NOT_FOUND,
        f"The model {model!r} does not exist here. GET /v1/models lists what does: {there}.",
        param="model",
    )
