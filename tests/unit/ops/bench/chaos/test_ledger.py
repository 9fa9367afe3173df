"""A failure is explained by a fault of its time that may cost just that, and by nothing else."""

import pytest

from ops.bench._chaos.ledger import Hit, Kind, Ledger, Outcome


def outcome(kind: Kind, began: float, ended: float) -> Outcome:
    return Outcome(kind=kind, exchange="plain-0.0", request="r", began=began, ended=ended)


GATEWAY_KILLED = Hit(
    fault="gateway-kill",
    target="gateway-1",
    costs=frozenset({"gateway lost"}),
    began=100,
    mended=100,
    whole=102,
)


@pytest.mark.parametrize(
    ("seen", "is_explained"),
    [
        (outcome("whole", 10, 20), True),
        (outcome("left", 10, 20), True),
        (outcome("gateway lost", 90, 101), True),
        (outcome("gateway lost", 101, 103), True),
        (outcome("gateway lost", 90, 99), False),
        (outcome("gateway lost", 110, 120), False),
        (outcome("failed", 90, 101), False),
        (outcome("lost", 90, 101), False),
    ],
)
def test_what_a_fault_may_cost(seen: Outcome, is_explained: bool) -> None:
    ledger = Ledger()
    ledger.note(seen)

    assert ledger.unexplained([GATEWAY_KILLED]) == ([] if is_explained else [seen])
