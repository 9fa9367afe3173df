"""What is said of a model that no engine serves: what it waits for, or why it will not come."""

from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.jobs import Job, NodeProgress
from proto.presence import EngineStatus
from services.scheduler.demand.demand import loads_of, may_load, refusal, starting
from services.scheduler.grouping.rescue import waits_for_node
from services.scheduler.placing.placing import quarantine_of, quarantined
from services.scheduler.view import View


def waits_for(model: ModelId, view: View) -> str:
    """In words that a client may read, for a model that is stored or placed somewhere.

    A load that somebody began is waited for even where requests begin none.
    Raises MeshError for one that will not come by itself.
    """
    under_way = loads_of(model, view)
    if under_way:
        return _of_job(under_way[0])
    regrouping = waits_for_node(view, model)
    if regrouping is not None:
        return regrouping
    engines = starting(model, view)
    if engines:
        return _of_engine(engines[0])
    homes = [node for node, _ in view.stored(model)]
    if not homes:
        raise _out_of_reach(model, view)
    failed = refusal(model, view)
    if failed is not None:
        raise failed.error()
    if may_load(model, view):
        return "about to be loaded"
    shut_out = [(quarantine_of(view, node, model), node) for node in homes]
    for quarantine, node in shut_out:
        if quarantine is not None and all(found for found, _ in shut_out):
            raise quarantined(quarantine, node)
    raise MeshError(
        Code.NOT_LOADED,
        f"The model {model!r} is not loaded, and no request may load it: `odyssai load {model}` "
        "does, or allow it with `loading.on_demand` in odyssai.yaml.",
        param="model",
    )


def _out_of_reach(model: ModelId, view: View) -> MeshError:
    stores = [n for n, s in view.stores.items() if any(m.id == model for m in s.models)]
    nodes = sorted({*stores, *(node for node, _ in view.placements(model))})
    return MeshError(
        Code.NO_ENGINE,
        f"No engine serves {model!r} now, and no node that is heard has its files; "
        f"{', '.join(nodes)} had them: is an agent running there?",
        retry_after_s=1.0,
    )


def _of_job(job: Job) -> str:
    return _of_node(job.nodes[0]) if job.nodes else job.detail or job.phase


def _of_node(part: NodeProgress) -> str:
    if part.total_bytes:
        done, total = part.done_bytes / 1e9, part.total_bytes / 1e9
        return f"{part.phase} {done:.1f} of {total:.1f} GB"
    if part.phase == "making room":
        return part.detail
    return f"{part.phase} {part.detail}".strip()


def _of_engine(status: EngineStatus) -> str:
    """One that is ready and yet serves nobody has just been lost, or stands still."""
    phase = "recovering" if status.phase == "ready" else status.phase
    return f"{phase} {status.detail}".strip()
