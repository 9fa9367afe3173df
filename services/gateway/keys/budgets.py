"""What keys may take of tokens in a day, a month and in all, over all gateways and restarts.

Each gateway adds what it served to the key's record once a second, by compare-and-set, and follows
the records. A budget may be passed by what was running when it was used up, and by what others took
in that second; a gateway that is killed forgets what it served in its last one.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bus.connection import Bus
from bus.errors import BusError
from bus.keys import open_spending
from bus.mirror import Mirror
from proto.errors import Code, MeshError
from proto.keys import Spending, with_tokens
from services.gateway.keys.caller import Caller

log = logging.getLogger(__name__)

SAVE_S = 1.0


class Budgets:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._unsaved: dict[str, int] = {}
        self._mirror: Mirror[Spending] | None = None

    def admit(self, caller: Caller) -> None:
        """Raises MeshError when a budget of it is used up."""
        if not caller.account:
            return
        spent = self.spent(caller.account)
        budgets = (
            ("today", caller.tokens_per_day, spent.in_day, self._until_tomorrow()),
            ("this month", caller.tokens_per_month, spent.in_month, self._until_next_month()),
            ("in all", caller.tokens_in_all, spent.in_all, None),
        )
        for when, limit, taken, wait_s in budgets:
            if limit is not None and taken >= limit:
                raise MeshError(
                    Code.BUDGET_SPENT,
                    f"{caller.key} has used up its budget: {taken} of {limit} tokens {when}. "
                    "Have it raised, or use another key.",
                    retry_after_s=wait_s,
                )

    def spend(self, account: str, tokens: int) -> None:
        if account and tokens:
            self._unsaved[account] = self._unsaved.get(account, 0) + tokens

    def spent(self, account: str) -> Spending:
        """As far as it is known here, what is not saved yet included."""
        saved = self._mirror.records.get(account) if self._mirror else None
        unsaved = self._unsaved.get(account, 0)
        return with_tokens(saved or Spending(), unsaved, self._now())

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
        """Follow what all gateways write, and write what this one served, for ever."""
        while self._mirror is None:
            await self.read(bus)
            await asyncio.sleep(SAVE_S)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mirror.run())
            while True:
                await asyncio.sleep(SAVE_S)
                await self.save()

    async def save(self) -> None:
        """What cannot be written now is tried again with the next."""
        for account, tokens in list(self._unsaved.items()):
            try:
                await self._add(account, tokens)
            except BusError as error:
                log.warning("spending of %s is not saved yet: %s", account, error)
                return
            # More may have come meanwhile.
            self._unsaved[account] -= tokens
            if not self._unsaved[account]:
                del self._unsaved[account]

    async def _add(self, account: str, tokens: int) -> None:
        if self._mirror is not None:
            await self._mirror.change(
                account, lambda known: with_tokens(known or Spending(), tokens, self._now())
            )

    def _until_tomorrow(self) -> float:
        now = datetime.fromtimestamp(self._now(), UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight + timedelta(days=1) - now).total_seconds()

    def _until_next_month(self) -> float:
        now = datetime.fromtimestamp(self._now(), UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return ((first + timedelta(days=32)).replace(day=1) - now).total_seconds()
