"""What keys may take of tokens and of dollars in a day, a month and in all, over all gateways and
restarts.

What was taken is in the accounts that are kept with the books of usage; each gateway follows them,
and adds what it served itself and is in none yet. A budget may be passed by what was running when
it was used up, and by what others took in the moment before.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bus.connection import Bus
from bus.errors import BusError
from bus.keys import open_spending
from bus.mirror import Mirror
from proto.errors import Code, MeshError
from proto.keys import Spending, current, with_used
from proto.money import shown
from services.gateway.keys.caller import Caller
from services.gateway.keys.unsettled import Unsettled

log = logging.getLogger(__name__)

RETRY_S = 1.0


class _Budget(NamedTuple):
    limit: int | None
    taken: int
    when: str
    frees_at: datetime | None
    """None: never."""
    words: Callable[[int], str]


class Budgets:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.unsettled = Unsettled()
        self._now = now
        self._mirror: Mirror[Spending] | None = None

    def admit(self, caller: Caller) -> None:
        """Raises MeshError when a budget of it is used up."""
        if not caller.account:
            return
        now = datetime.fromtimestamp(self._now(), UTC)
        for budget in _budgets(caller, self.spent(caller.account), now):
            if budget.limit is not None and budget.taken >= budget.limit:
                raise _used_up(caller, budget, now)

    def spent(self, account: str) -> Spending:
        """As far as it is known here, what no book has yet included."""
        saved = self._mirror.records.get(account) if self._mirror else None
        spent = saved or Spending()
        for part in self.unsettled.of(account, spent.counted):
            spent = with_used(spent, part.day, part.tokens, part.nano_usd)
        return current(spent, self._now())

    async def read(self, bus: Bus) -> None:
        """Know what was spent until now, before ``run``. While the bus is away that is nothing."""
        try:
            mirror = Mirror(await open_spending(bus))
            await mirror.read()
        except BusError as error:
            log.warning("it is not known yet what keys have spent: %s", error)
        else:
            self._mirror = mirror

    async def run(self, bus: Bus) -> None:
        """Follow the accounts, for ever."""
        while self._mirror is None:
            await self.read(bus)
            await asyncio.sleep(RETRY_S)
        await self._mirror.run()


def _budgets(caller: Caller, spent: Spending, now: datetime) -> Iterator[_Budget]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow = midnight + timedelta(days=1)
    next_month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    tokens: Callable[[int], str] = str
    yield _Budget(caller.tokens_per_day, spent.in_day, "tokens today", tomorrow, tokens)
    yield _Budget(caller.tokens_per_month, spent.in_month, "tokens this month", next_month, tokens)
    yield _Budget(caller.tokens_in_all, spent.in_all, "tokens in all", None, tokens)
    yield _Budget(caller.nano_usd_per_day, spent.nano_usd_in_day, "today", tomorrow, shown)
    yield _Budget(
        caller.nano_usd_per_month, spent.nano_usd_in_month, "this month", next_month, shown
    )
    yield _Budget(caller.nano_usd_in_all, spent.nano_usd_in_all, "in all", None, shown)


def _used_up(caller: Caller, budget: _Budget, now: datetime) -> MeshError:
    at = budget.frees_at
    frees = "" if at is None else f" It is free again from {at:%Y-%m-%d %H:%M} UTC."
    taken, limit = budget.words(budget.taken), budget.words(budget.limit or 0)
    return MeshError(
        Code.BUDGET_SPENT,
        f"{caller.key} has used up its budget: {taken} of {limit} {budget.when}.{frees} Have it "
        "raised, or use another key.",
        retry_after_s=None if at is None else (at - now).total_seconds(),
    )
