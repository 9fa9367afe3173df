"""The one place from which a leader writes plans: fenced by its epoch, by compare-and-set."""

from collections.abc import Mapping

from msgspec import structs

from bus.mirror import Mirror
from proto.ids import NodeId
from proto.plan import NodePlan
from services.scheduler.changes import Change


class Deposed(Exception):
    """A newer leader has written: this one's reign is over, whatever its clock says."""


class Plans:
    """All nodes' plans during one reign."""

    def __init__(self, records: Mirror[NodePlan], epoch: int) -> None:
        self._records = records
        self._epoch = epoch

    @property
    def known(self) -> Mapping[str, NodePlan]:
        return self._records.records

    async def stamp(self) -> None:
        """From now on no older leader can write. Raises Deposed, NotConnected and Conflict."""
        await self._records.read()
        for node in list(self.known):
            await self.change(NodeId(node), lambda plan: plan)

    async def change(self, node: NodeId, change: Change) -> NodePlan:
        """Raises Deposed, NotConnected and Conflict."""

        def fenced(before: NodePlan | None) -> NodePlan:
            plan = before or NodePlan(node=node)
            if plan.epoch > self._epoch:
                raise Deposed(f"epoch {plan.epoch} has begun, this is {self._epoch}")
            return structs.replace(change(plan), epoch=self._epoch)

        known = self.known.get(node)
        if known is not None and fenced(known) == known:
            return known
        return await self._records.change(node, fenced)

    async def mend(self) -> None:
        """Write back what was known of plans that are spoiled. Raises NotConnected, Conflict."""
        await self._records.mend()

    async def forget(self, node: NodeId) -> None:
        """Raises NotConnected."""
        await self._records.delete(node)
