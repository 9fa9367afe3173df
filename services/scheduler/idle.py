"""Which models nobody has used for longer than they may stay unused."""

from proto.effective import idle_ttl_s
from proto.ids import ModelId
from proto.jobs import Unload
from proto.plan import Placement
from services.scheduler.naming import defaults
from services.scheduler.view import View


def overdue(view: View) -> list[Unload]:
    """An order for each engine that has been idle too long, pinned ones never."""
    configured: dict[ModelId, float | None] = {}
    found = []
    for node in sorted(view.nodes):
        for placement in view.plan(node).placements:
            idle_s = _idle_s(placement, view)
            if placement.model not in configured:
                told = defaults(view, placement.model, *placement.aliases)
                configured[placement.model] = idle_ttl_s(view.config, told)
            own = placement.idle_ttl_s
            ttl_s = configured[placement.model] if own is None else own
            if ttl_s is not None and idle_s > ttl_s:
                found.append(Unload(model=placement.model, nodes=(node,)))
    return found


def _idle_s(placement: Placement, view: View) -> float:
    """0 for one that is in use, that is to stay, or that leaves already."""
    beat = view.engines.get(placement.engine)
    if beat is None or beat.state != "ready" or placement.is_pinned or placement.is_draining:
        return 0.0
    return beat.idle_s
