"""Which models are waited for, and which of them are worth a load. No bus, no clock.

Wishes are heard by every scheduler, so that one that begins to lead knows them. What became
of earlier loads is read from the jobs' records, so that every scheduler reckons alike.
"""

from msgspec.structs import replace

from proto.effective import loads_on_demand, value
from proto.errors import Refused
from proto.ids import ModelId
from proto.jobs import Job, Load
from proto.placement import Want
from proto.presence import EngineStatus
from services.scheduler.naming import defaults, known_model
from services.scheduler.placing.placing import quarantine_of
from services.scheduler.view import GIVEN_UP, View

DEMAND = "demand"
"""Who asked for a job that nobody but waiting requests asked for."""
REMEMBER_S = 3.0
"""A wish that was not repeated for so long is gone: whoever had it has left."""
PAUSE_S = 5.0
"""After a load that failed; twice as long after each further one in a row."""
MOST_PAUSE_S = 300.0


class Demand:
    """Who waits for what at this moment."""

    def __init__(self, began: float) -> None:
        """``began``: since when it hears what is wanted, by a clock that nobody sets."""
        self._began = began
        self._wants: dict[str, tuple[float, Want]] = {}

    def hear(self, want: Want, now: float) -> None:
        self._wants[want.request] = (now, want)

    def wanted(self, now: float) -> dict[ModelId, float]:
        """Since when each model is waited for, the longest first."""
        self._wants = {
            request: (at, want)
            for request, (at, want) in self._wants.items()
            if now - at <= REMEMBER_S
        }
        wants = sorted((at - want.waited_s, want.model) for at, want in self._wants.values())
        since: dict[ModelId, float] = {}
        for at, model in wants:
            since.setdefault(model, at)
        return since

    def loads(self, view: View) -> list[Load]:
        """To be submitted, in the order in which somebody began to wait for the models.

        Whoever waits for a model that is served now has it a moment later: should it
        leave again soon, only those count who go on waiting.
        """
        self._wants = {
            request: (at, want)
            for request, (at, want) in self._wants.items()
            if not _is_served(want.model, view)
        }
        return [
            Load(model=model, replicas=value(defaults(view, model).replicas, 1))
            for model in self.wanted(view.clock_s)
            if may_load(model, view) and not is_coming(model, view)
            if refusal(model, view) is None
        ]

    def abandoned(self, view: View) -> list[Job]:
        """Loads that only requests asked for, that hold nothing yet, and that nobody waits for."""
        if view.clock_s - self._began <= REMEMBER_S:
            return []
        wanted = self.wanted(view.clock_s)
        placed = {p.job for plan in view.plans.values() for p in plan.placements}
        return [
            job
            for job in view.jobs.values()
            if job.by == DEMAND and not job.is_over and job.wish != "cancel"
            if job.id not in placed and _model(job, view) not in wanted
        ]


def may_load(model: ModelId, view: View) -> bool:
    """A request may have it loaded: that is allowed, and it is stored where it is not shut out."""
    homes = (node for node, _ in view.stored(model))
    has_home = any(quarantine_of(view, node, model) is None for node in homes)
    return has_home and loads_on_demand(view.config, defaults(view, model))


def is_coming(model: ModelId, view: View) -> bool:
    """It is being loaded, whoever wanted it, or an agent starts it because its plan says so."""
    return bool(loads_of(model, view) or starting(model, view))


def _is_served(model: ModelId, view: View) -> bool:
    return any(
        beat is not None and beat.state == "ready"
        for node, placement in view.placements(model)
        for beat in (view.lead(placement),)
        if not (placement.is_draining or view.plan(node).is_drained)
    )


def loads_of(model: ModelId, view: View) -> list[Job]:
    """Those that are under way."""
    return [job for job in view.jobs.values() if not job.is_over and _model(job, view) == model]


def starting(model: ModelId, view: View) -> list[EngineStatus]:
    """What agents say of engines that have it, or will, and may be asked then."""
    found = []
    for node, placement in view.placements(model):
        takes_requests = node in view.nodes and not view.plan(node).is_drained
        if takes_requests and not placement.is_draining:
            status = view.status(node, placement.engine)
            found.append(
                status or EngineStatus(engine=placement.engine, model=model, phase="waiting")
            )
    return [status for status in found if status.phase not in GIVEN_UP]


def refusal(model: ModelId, view: View) -> Refused | None:
    """Why its last load on demand failed, as long as it is not tried again."""
    failures = _failures(model, view)
    if not failures:
        return None
    last = failures[-1]
    pause_s = min(MOST_PAUSE_S, PAUSE_S * 2.0 ** (len(failures) - 1))
    left_s = pause_s - view.age_s(last)
    return replace(last.error, retry_after_s=left_s) if last.error and left_s > 0 else None


def _failures(model: ModelId, view: View) -> list[Job]:
    """Its loads on demand that failed since one was done, whoever asked for that one."""
    ended = [job for job in view.jobs.values() if job.is_over and _model(job, view) == model]
    failures: list[Job] = []
    for job in sorted(ended, key=lambda job: job.ended_s or 0.0):
        if job.state == "done":
            failures.clear()
        elif job.state == "failed" and job.by == DEMAND:
            failures.append(job)
    return failures


def _model(job: Job, view: View) -> ModelId | None:
    """What a load is of; None for every other job."""
    return known_model(view, job.order.model) if isinstance(job.order, Load) else None
