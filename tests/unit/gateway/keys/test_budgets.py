"""What a key may take in a day, a month and in all."""

from datetime import UTC, datetime

import pytest

from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import KeyId, fresh
from services.gateway.keys.budgets import Budgets
from services.gateway.keys.caller import Caller

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


def caller(account: str = "ci", **budget: int) -> Caller:
    return Caller(key=KeyId(account), account=account, **budget)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "words", "wait_s"),
    [
        ("tokens_per_day", "10 of 10 tokens today", 12 * 3600),
        ("tokens_per_month", "10 of 10 tokens this month", (4 * 24 + 12) * 3600),
        ("tokens_in_all", "10 of 10 tokens in all", None),
    ],
)
def test_a_budget_is_refused_once_it_is_used_up(
    budget: str, words: str, wait_s: float | None
) -> None:
    budgets = Budgets(lambda: NOON)
    asks = caller(**{budget: 10})
    budgets.spend("ci", 9)
    budgets.admit(asks)
    budgets.spend("ci", 1)

    with pytest.raises(MeshError, match=words) as refused:
        budgets.admit(asks)
    assert refused.value.code is Code.BUDGET_SPENT
    assert refused.value.retry_after_s == wait_s


def test_a_key_without_a_budget_is_not_counted() -> None:
    budgets = Budgets(lambda: NOON)
    budgets.spend("", 10)
    budgets.admit(Caller(key=KeyId("free")))

    assert budgets.spent("").in_all == 0


async def test_what_gateways_served_is_added_up_and_outlives_them(bus: Bus) -> None:
    name = f"k-{fresh()}"
    first, second = Budgets(lambda: NOON), Budgets(lambda: NOON)
    await first.read(bus)
    await second.read(bus)
    first.spend(name, 10)
    second.spend(name, 5)
    await first.save()
    await first.save()
    await second.save()
    third = Budgets(lambda: NOON)
    await third.read(bus)

    assert second.spent(name).in_all == third.spent(name).in_all == 15
    with pytest.raises(MeshError, match="15 of 12 tokens"):
        third.admit(caller(name, tokens_per_month=12))
