"""When a draining engine may leave its node's plan: nothing has run there for two heartbeats.

A group is one engine: its ranks leave together.
"""

from proto.ids import EngineId, NodeId
from proto.plan import Placement
from proto.presence import HEARTBEAT_S
from services.scheduler.view import View

QUIET_S = 1.5 * HEARTBEAT_S
"""What was sent to it before everybody knew is in the next heartbeat."""


class Draining:
    """Remembers since when each draining engine has been quiet."""

    def __init__(self) -> None:
        self._since: dict[EngineId, float] = {}

    def look(self, view: View) -> list[tuple[NodeId, EngineId]]:
        """Those that may go now."""
        leaving = {
            placement.engine: (node, placement)
            for node, plan in view.plans.items()
            for placement in plan.placements
            if placement.is_draining and _is_quiet(node, placement, view)
        }
        quiet = {
            engine: node
            for engine, (node, placement) in leaving.items()
            if placement.group is None
            or all(member.engine in leaving for member in placement.group.members)
        }
        self._since = {engine: self._since.get(engine, view.clock_s) for engine in quiet}
        return [
            (node, engine)
            for engine, node in quiet.items()
            if view.clock_s - self._since[engine] >= QUIET_S
        ]


def _is_quiet(node: NodeId, placement: Placement, view: View) -> bool:
    """Its agent has heard that it drains, and it has no request. What is not heard has none."""
    status = view.status(node, placement.engine)
    if status is not None and status.phase == "ready":
        return False
    beat = view.engines.get(placement.engine)
    return beat is None or beat.running + beat.queued == 0
