"""What a key may take in a day, a month and in all."""

import asyncio
from datetime import UTC, datetime

import pytest

from bus.connection import Bus
from bus.keys import open_spending
from proto.errors import Code, MeshError
from proto.ids import GatewayId, KeyId, fresh
from proto.usage import Amounts, Item
from services.gateway.keys.budgets import Budgets
from services.gateway.keys.caller import Caller
from services.gateway.metering.outbox import Outbox
from services.health.bookkeeping.bookkeeper import Books

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
DAY = "2026-11-26"


def caller(account: str = "ci", **budget: int) -> Caller:
    return Caller(key=KeyId(account), account=account, **budget)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "words", "wait_s"),
    [
        ("tokens_per_day", "10 of 10 tokens today. It is free again from 2026-11-27 00:00", 12),
        ("tokens_per_month", "10 of 10 tokens this month. .*from 2026-12-01 00:00", 4 * 24 + 12),
        ("tokens_in_all", "10 of 10 tokens in all. Have", None),
        ("nano_usd_per_day", r"\$0.00000001 of \$0.00000001 today. .*from 2026-11-27", 12),
        ("nano_usd_per_month", r"of \$0.00000001 this month. .*from 2026-12-01", 4 * 24 + 12),
        ("nano_usd_in_all", r"of \$0.00000001 in all. Have", None),
    ],
)
def test_a_budget_is_refused_once_it_is_used_up(
    budget: str, words: str, wait_s: float | None
) -> None:
    budgets = Budgets(lambda: NOON)
    asks = caller(**{budget: 10})
    budgets.unsettled.add("ci", DAY, Amounts(prompt_tokens=4, completion_tokens=5, cost_nano_usd=9))
    budgets.admit(asks)
    budgets.unsettled.add("ci", DAY, Amounts(prompt_tokens=1, cost_nano_usd=1))

    with pytest.raises(MeshError, match=words) as refused:
        budgets.admit(asks)
    assert refused.value.code is Code.BUDGET_SPENT
    assert refused.value.retry_after_s == (None if wait_s is None else wait_s * 3600)


async def test_what_gateways_served_is_added_up_and_outlives_them(bus: Bus) -> None:
    """Each counts its own at once, and once only when the account has it."""
    name = f"k-{fresh()}"
    first, second = Budgets(lambda: NOON), Budgets(lambda: NOON)
    for budgets, tokens in ((first, 10), (second, 5)):
        await budgets.read(bus)
        boot = fresh()
        outbox = Outbox(GatewayId(f"gateway.{boot}"), boot, budgets.unsettled, lambda: NOON)
        outbox.add(Item(name, "tiny", ""), Amounts(requests=1, prompt_tokens=tokens))
        assert budgets.spent(name).in_all == tokens
        await outbox.empty(bus)
        assert budgets.spent(name).in_all == tokens
    books = await Books.begin(bus)
    while await books.enter():
        pass
    third = Budgets(lambda: NOON)
    for budgets in (first, second, third):
        await budgets.read(bus)

    assert [each.spent(name).in_all for each in (first, second, third)] == [15, 15, 15]
    with pytest.raises(MeshError, match="15 of 12 tokens"):
        third.admit(caller(name, tokens_per_month=12))


async def test_what_another_gateway_served_is_heard_while_it_runs(bus: Bus) -> None:
    name, budgets = f"k-{fresh()}", Budgets(lambda: NOON)
    await budgets.read(bus)
    running = asyncio.create_task(budgets.run(bus))
    try:
        spending = await open_spending(bus)
        known = budgets.spent(name)
        await spending.put(name, known)
        other = Outbox(GatewayId("gateway.other"), fresh(), Budgets().unsettled, lambda: NOON)
        other.add(Item(name, "tiny", ""), Amounts(requests=1, cost_nano_usd=7))
        await other.empty(bus)
        books = await Books.begin(bus)
        await books.enter()
        async with asyncio.timeout(10):
            while budgets.spent(name).nano_usd_in_all != 7:
                assert budgets._mirror
                budgets._mirror.changed.clear()
                await budgets._mirror.changed.wait()
    finally:
        running.cancel()
