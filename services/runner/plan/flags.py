"""The models that an agent was started with: fetched, then written into its plan."""

import time
from collections.abc import Callable

from bus.connection import Bus
from proto.errors import MeshError
from proto.ids import ModelId, NodeId, engine_id
from proto.presence import EngineStatus
from services.runner.crew.event import tell
from services.runner.models.names import id_of
from services.runner.plan.edits import Memory, quarantine_of, with_flag
from services.runner.plan.record import PlanRecord
from services.runner.store.store import ModelStore

AGAIN_S = 30.0
"""A flag that was refused is tried again after so long, or when the plan changes."""


class Flag:
    """One model that was named when the agent was started."""

    def __init__(
        self,
        bus: Bus,
        node: NodeId,
        source: str,
        record: PlanRecord,
        store: ModelStore,
        memory: Callable[[], Memory],
    ) -> None:
        self.engine = engine_id(node, source)
        self._bus = bus
        self._node = node
        self._source = source
        self._record = record
        self._store = store
        self._memory = memory
        self._status: EngineStatus | None = None

    def status(self) -> EngineStatus | None:
        """None once it is in the plan, where its engine tells the rest."""
        return self._status

    async def run(self) -> None:
        """Place it; and again, when its quarantine has been lifted."""
        while True:
            try:
                model = await self._place()
            except MeshError as error:
                await self._refuse(error.message)
                await self._record.news(AGAIN_S)
                continue
            self._status = None
            await self._until_quarantine(model, stands=True)
            await self._until_quarantine(model, stands=False)

    async def _place(self) -> ModelId:
        """Raises MeshError when its files cannot be had or it does not fit."""
        found = self._store.find(self._source)
        if self._status is None:
            self._status = EngineStatus(
                engine=self.engine,
                model=found.id if found else id_of(self._source),
                phase="waiting" if found else "fetching",
            )
        stored = await self._store.ensure(self._source)
        await self._record.change(
            lambda plan: with_flag(
                plan, self.engine, self._source, stored, self._memory(), time.time()
            )
        )
        return stored.id

    async def _refuse(self, why: str) -> None:
        assert self._status is not None, "it was tried"
        if (self._status.phase, self._status.detail) == ("refused", why):
            return
        self._status = EngineStatus(
            engine=self.engine, model=self._status.model, phase="refused", detail=why
        )
        await tell(self._bus, self._node, self._status, "refused", why)

    async def _until_quarantine(self, model: ModelId, *, stands: bool) -> None:
        while (quarantine_of(self._record.plan, model) is not None) != stands:
            await self._record.news()
