"""Which models nobody has used for longer than they may stay unused."""

import math

from proto.effective import idle_ttl_s
from proto.jobs import Unload
from proto.plan import Placement
from services.scheduler.naming import defaults
from services.scheduler.view import View


def overdue(view: View) -> list[Unload]:
    """An order for each engine that has been idle too long, pinned ones never."""
    held = [(node, p) for node in sorted(view.nodes) for p in view.plan(node).placements]
    by_model = {p.model: _configured_ttl_s(p, view) for _, p in held}
    return [
        Unload(model=placement.model, nodes=(node,))
        for node, placement in held
        if placement.group is None or placement.group.leader == placement.engine
        if _idle_s(placement, view) > _ttl_s(placement, by_model[placement.model])
    ]


def _ttl_s(placement: Placement, configured_s: float | None) -> float:
    """Its own, else what the configuration says; endless without any word."""
    told = configured_s if placement.idle_ttl_s is None else placement.idle_ttl_s
    return math.inf if told is None else told


def _configured_ttl_s(placement: Placement, view: View) -> float | None:
    told = defaults(view, placement.model, *placement.aliases)
    return idle_ttl_s(view.config, told)


def _idle_s(placement: Placement, view: View) -> float:
    """0 for one that is in use, that is to stay, or that leaves already; of groups by leader."""
    beat = view.lead(placement)
    if beat is None or beat.state != "ready" or placement.is_pinned or placement.is_draining:
        return 0.0
    return beat.idle_s
