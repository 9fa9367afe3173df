"""Reports of usage on their way: no request waits for one, and none is lost while we live.

One report is on its way at a time, and said again, the same, until it is kept. What is served
meanwhile is added up for the next, so that this does not grow however long the bus is away.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from bus import usage
from bus.connection import Bus
from bus.errors import BusError
from proto.ids import GatewayId
from proto.keys import account_of
from proto.usage import NOTHING, Amounts, Item, UsageReport, Used, day_of
from services.gateway.keys.unsettled import Unsettled

log = logging.getLogger(__name__)

PACE_S = 0.02
"""From one report to the next; the first goes at once."""
AGAIN_S = 0.5


class Outbox:
    def __init__(
        self,
        gateway: GatewayId,
        boot: str,
        unsettled: Unsettled,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self._boot = boot
        self._unsettled = unsettled
        self._now = now
        self._rows: dict[tuple[str, Item], Amounts] = {}
        self._number = 0
        self._sending: UsageReport | None = None
        self._news = asyncio.Event()
        self._is_silenced = False
        """That reports are not kept has been said."""

    def add(self, item: Item, amounts: Amounts) -> None:
        day = day_of(self._now())
        self._rows[day, item] = self._rows.get((day, item), NOTHING) + amounts
        self._unsettled.add(account_of(item.key), day, amounts)
        self._news.set()

    @property
    def is_empty(self) -> bool:
        return self._sending is None and not self._rows

    async def run(self, bus: Bus) -> None:
        """For ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.empty(bus)

    async def empty(self, bus: Bus) -> None:
        """Return when all is kept; for as long as it takes."""
        while not self.is_empty:
            kept = await self._say(bus, self._sending or self._next())
            await asyncio.sleep(PACE_S if kept else AGAIN_S)

    def _next(self) -> UsageReport:
        self._number += 1
        self._sending = UsageReport(
            gateway=self._gateway,
            boot=self._boot,
            number=self._number,
            used=tuple(Used(day, item, amounts) for (day, item), amounts in self._rows.items()),
        )
        self._rows = {}
        self._unsettled.reported(self._number)
        return self._sending

    async def _say(self, bus: Bus, report: UsageReport) -> bool:
        try:
            if report.number == 1 and bus.makes_buckets:
                await usage.open_reports(bus)
            sequence = await usage.report(bus, report)
        except BusError as error:
            if not self._is_silenced:
                log.warning("usage is not kept yet, and is said again until it is: %s", error)
            self._is_silenced = True
            return False
        if self._is_silenced:
            log.info("usage is kept again")
        self._is_silenced, self._sending = False, None
        self._unsettled.kept(report.number, sequence)
        return True
