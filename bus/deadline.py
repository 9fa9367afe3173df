"""Until when somebody waits: told as seconds that are left, kept as a moment of one's own clock.

Clocks of two machines are never compared; one of them may be wrong by hours.
"""

import time
from collections.abc import Mapping

PATIENCE = "patience"
"""Header of a question: seconds that its asker listens, from when it is said."""


def moment(left_s: float | None) -> float | None:
    """Monotonic seconds at which what was heard just now is over; None: it never is."""
    return None if left_s is None else time.monotonic() + left_s


def left_s(moment: float | None) -> float | None:
    """What is to be told of it now; 0 when it has passed."""
    return None if moment is None else max(0.0, moment - time.monotonic())


def patience_s(headers: Mapping[str, str]) -> float:
    """How long who asked listens; for ever, where it does not say."""
    try:
        return float(headers.get(PATIENCE, "inf"))
    except ValueError:
        return float("inf")
