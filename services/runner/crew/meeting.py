"""Whether the ranks of a group find together. No clock and no bus."""

from msgspec.structs import replace

from proto.plan import Placement
from services.runner.crew.engine_log import OTHERS_LEFT, UNMET

BY_OTHERS = (OTHERS_LEFT, UNMET)
"""Ends of a rank that are no fault of its own."""
MOST_UNMET = 2
"""So often may jaccl fail to bring the ranks together before they meet by ring."""


class Meeting:
    """Of one rank's lives, one after the other."""

    def __init__(self) -> None:
        self._unmet = 0
        """Lives in a row that ended before all others were met."""

    def has_met(self) -> None:
        self._unmet = 0

    def has_ended(self, why: str, *, was_ready: bool) -> None:
        if why in BY_OTHERS and not was_ready:
            self._unmet += 1

    def way(self, placement: Placement) -> tuple[Placement, str]:
        """How the next life is to meet the others, and what is to be said of that.

        Links that RDMA cannot use carry TCP as a rule: slower, and yet a model that serves.
        """
        group = placement.group
        if group is None or group.backend == "ring" or self._unmet < MOST_UNMET:
            return placement, ""
        said = f"over ring, since jaccl could not bring the ranks together {self._unmet} times"
        return replace(placement, group=replace(group, backend="ring")), said
