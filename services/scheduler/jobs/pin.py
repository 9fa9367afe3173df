"""Keep a loaded model, or no longer. Done at once."""

from proto.errors import Code, MeshError
from proto.jobs import Job, Pin
from services.scheduler.changes import alter
from services.scheduler.jobs.step import Step, ended, failed, words
from services.scheduler.naming import known_model, unknown
from services.scheduler.view import View


def advance(job: Job, order: Pin, view: View) -> Step:
    model = known_model(view, order.model)
    if model is None:
        return Step(failed(job, view.now_s, unknown(view, order.model)))
    held = view.placements(model)
    if not held:
        error = MeshError(
            Code.CONFLICT, f"{model} is not loaded: `odyssai load {model} --pin` loads and pins it."
        )
        return Step(failed(job, view.now_s, error))
    changes = tuple(
        (node, alter([placement.engine], is_pinned=order.is_pinned)) for node, placement in held
    )
    word = "pinned" if order.is_pinned else "no longer pinned"
    return Step(
        ended(job, view.now_s, "done", f"{word} on {words(node for node, _ in held)}"), changes
    )
