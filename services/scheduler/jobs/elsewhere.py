"""Have a model loaded or unloaded by an engine that is not ours: it is told, and does it itself."""

from msgspec import structs

from proto.effective import target
from proto.errors import Code, MeshError
from proto.ids import EngineId, ModelId
from proto.jobs import Job, Load, Unload
from proto.presence import EngineBeat
from services.scheduler.jobs.step import SetLoadedElsewhere, Step, ended, failed
from services.scheduler.view import View

TOLD = "at its own engine"
PATIENCE_S = 660.0
"""Longer than any engine is waited for by the service that tells it."""


def is_elsewhere(job: Job, order: Load | Unload, view: View) -> bool:
    """Of an engine that is heard; or was when the job began."""
    return job.phase == TOLD or bool(_holders(target(view.config, order.model), view))


def advance(job: Job, order: Load | Unload, view: View) -> Step:
    """Any of the services that stand for the engine can tell it, and each says how it is."""
    model = target(view.config, order.model)
    wants = isinstance(order, Load)
    holders = _holders(model, view)
    if not holders:
        if not wants:
            return Step(ended(job, view.now_s, "done", "unloaded"))
        lost = MeshError(Code.NO_ENGINE, f"The engine of {model} is heard no more.", param="model")
        return Step(failed(job, view.now_s, lost))
    if isinstance(order, Load) and (param := _beyond(order)):
        message = f"`{param}`: {holders[0].provider} decides that itself; leave it out."
        refused = MeshError(Code.UNSUPPORTED_PARAMETER, message, param=param)
        return Step(failed(job, view.now_s, refused))
    if any(_has_loaded(beat, model) == wants for beat in holders):
        return Step(ended(job, view.now_s, "done", "loaded" if wants else "unloaded"))
    if job.phase == TOLD and view.age_s(job) > PATIENCE_S:
        late = f"{holders[0].provider} has not done it in {PATIENCE_S / 60:.0f} minutes."
        return Step(failed(job, view.now_s, MeshError(Code.LOAD_FAILED, late, param="model")))
    told = structs.replace(job, phase=TOLD)
    return Step(told, acts=(SetLoadedElsewhere(_first(holders), model, wants),))


def _holders(model: ModelId, view: View) -> list[EngineBeat]:
    """Those that have it, and those whose it would be by its name."""
    provider = model.partition(":")[0]
    return [
        beat
        for beat in view.engines.values()
        if beat.upstream is not None
        and (beat.provider == provider or any(card.id == model for card in beat.models))
    ]


def _first(holders: list[EngineBeat]) -> EngineId:
    return min(beat.engine for beat in holders)


def _has_loaded(beat: EngineBeat, model: ModelId) -> bool:
    return any(card.id == model and not card.sleeps for card in beat.models)


def _beyond(order: Load) -> str:
    """What is asked for beside the model, and only engines of ours can be told."""
    plain = Load(
        model=order.model, fetches=order.fetches, makes_room=order.makes_room,
        idle_ttl_s=order.idle_ttl_s, lifts_quarantine=order.lifts_quarantine,
    )  # fmt: skip
    differs = (n for n in order.__struct_fields__ if getattr(order, n) != getattr(plain, n))
    return next(differs, "")
