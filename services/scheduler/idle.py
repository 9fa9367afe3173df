"""Which models nobody has used for longer than they may stay unused."""

from proto.effective import idle_ttl_s
from proto.jobs import Unload
from proto.plan import Placement
from services.scheduler.naming import defaults
from services.scheduler.view import View


def overdue(view: View) -> list[Unload]:
    """An order for each engine that has been idle too long, pinned ones never."""
    return [
        Unload(model=placement.model, nodes=(node,))
        for node in sorted(view.plans)
        for placement in view.plans[node].placements
        if node in view.nodes and _is_overdue(placement, view)
    ]


def _is_overdue(placement: Placement, view: View) -> bool:
    beat = view.engines.get(placement.engine)
    if beat is None or beat.state != "ready" or placement.is_pinned or placement.is_draining:
        return False
    ttl_s = placement.idle_ttl_s
    if ttl_s is None:
        told = defaults(view, placement.model, *placement.aliases)
        ttl_s = idle_ttl_s(view.config, told)
    return ttl_s is not None and beat.idle_s > ttl_s
