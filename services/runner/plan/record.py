"""The node's plan where it is kept: read, watched, changed by compare-and-set."""

import asyncio
import logging
from collections.abc import Callable

from bus.connection import Bus
from bus.errors import Conflict, Foreign, NotConnected
from bus.state import Bucket
from proto.ids import NodeId
from proto.plan import PLANS, NodePlan
from services.runner.plan.edits import Edit

log = logging.getLogger(__name__)

AGAIN_S = 0.2
FOREIGN_S = 10.0
"""A plan of another version waits for a person."""


class PlanRecord:
    """What the node should hold and do, as it was heard last. While the bus is away, that holds."""

    def __init__(self, bucket: Bucket[NodePlan], node: NodeId) -> None:
        self.plan = NodePlan(node=node)
        self._bucket = bucket
        self._node = node
        self._news = asyncio.Event()

    @classmethod
    async def open(cls, bus: Bus, node: NodeId) -> "PlanRecord":
        return cls(await Bucket.open(bus, PLANS, NodePlan), node)

    async def change(self, edit: Edit) -> NodePlan:
        """Write what ``edit`` makes of the plan, whoever else writes, once the bus is there.

        Returns that. What ``edit`` raises is raised; nothing is written when it changes nothing.
        """
        while True:
            try:
                found = await self._bucket.get(self._node)
                before, revision = found or (NodePlan(node=self._node), 0)
                after = edit(before)
                if after != before:
                    await self._bucket.swap(self._node, after, revision)
            except Conflict:
                continue
            except NotConnected as away:
                log.warning("the plan cannot be changed yet: %s", away)
                await asyncio.sleep(AGAIN_S)
            except Foreign as unknown:
                log.error("the plan cannot be changed: %s", unknown)  # noqa: TRY400
                await asyncio.sleep(FOREIGN_S)
            else:
                return after

    async def watch(self, changed: Callable[[NodePlan], None]) -> None:
        """Tell the plan whenever it has changed, for ever. Without a record it is empty."""

        def hear(key: str, record: NodePlan | None) -> None:
            if key == self._node:
                self.plan = record or NodePlan(node=self._node)
                changed(self.plan)
                self._news.set()
                self._news = asyncio.Event()

        await self._bucket.watch(hear)

    async def news(self, within_s: float | None = None) -> None:
        """Return when the plan has changed, or after a while."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return
