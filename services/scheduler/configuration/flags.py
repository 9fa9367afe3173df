"""Models that agents were started with, as the configuration has them.

An agent places what it was started with by itself, also where no scheduler is, and knows nothing of
the configuration; who leads sees to the rest.
"""

from collections.abc import Iterator

from proto.effective import value
from proto.ids import NodeId
from proto.jobs import NO_DRAFT, Job, Load
from proto.plan import Placement
from services.scheduler.naming import defaults
from services.scheduler.view import View

CONFIGURED = "configuration"
"""Who asked for a load that follows from odyssai.yaml."""


def not_yet_as_configured(view: View) -> Iterator[Load]:
    """Orders for those that no load has seen to, if anything is configured for them. What was tried
    and failed is not tried again, until the configuration says something else.
    """
    tried = [job.order for job in view.jobs.values() if job.by == CONFIGURED and _stands(job)]
    for node in sorted(view.nodes):
        for placement in view.plan(node).placements:
            is_new = placement.origin == "flag" and not placement.was_ordered
            order = _order(view, node, placement) if is_new else None
            if order is not None and order not in tried:
                yield order


def _stands(job: Job) -> bool:
    return job.state != "done"


def _order(view: View, node: NodeId, placement: Placement) -> Load | None:
    told = defaults(view, placement.model, *placement.aliases)
    settings = (told.context, told.batch, told.slots, told.draft)
    context, batch, slots, draft = (value(setting, None) for setting in settings)
    if (context, batch, slots) == (None, None, None) and draft in (None, NO_DRAFT):
        return None
    return Load(
        model=placement.model,
        nodes=(node,),
        context=context,
        batch=batch,
        slots=slots,
        draft=draft,
        makes_room=False,
    )
