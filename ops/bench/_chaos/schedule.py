"""When what is broken: from the seed alone, so that a run can be had again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ops.bench._chaos.faults import Fault

FIRST_S = 4.0
QUIET_S = (3.0, 8.0)
"""Between the end of one fault and the next, by plan; recovery is awaited whatever it takes."""
LAST_S = 12.0
"""Before the end nothing is broken any more."""
RECOVERY_S = 4.0
"""What a recovery is expected to take."""


@dataclass(frozen=True)
class Planned:
    at_s: float
    """After the load began; later where the mesh is not yet whole then."""
    fault: Fault
    target: str
    lasts_s: float

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:7.1f} s  {self.fault.name} {self.target}{lasts}"


def planned(
    seed: int, span_s: float, faults: Sequence[Fault], calm_s: float = 0.0
) -> list[Planned]:
    """Every kind once, in a chance order, then all again, until the time is over.

    ``calm_s`` more pass between two than they need.
    """
    rng = random.Random(seed)
    plan: list[Planned] = []
    bag: list[Fault] = []
    at_s = FIRST_S
    while faults:
        bag = bag or rng.sample(list(faults), len(faults))
        fault = bag.pop()
        lasts_s = round(rng.uniform(*fault.lasts_s), 1)
        if at_s + lasts_s > span_s - LAST_S:
            break
        plan.append(Planned(at_s, fault, rng.choice(fault.targets), lasts_s))
        at_s = round(at_s + lasts_s + RECOVERY_S + rng.uniform(*QUIET_S) + calm_s, 1)
    return plan
