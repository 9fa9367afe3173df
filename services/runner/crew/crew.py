"""The engines of this node: a keeper for each placement of its plan."""

import asyncio
import logging

from proto.ids import EngineId, ModelId
from proto.plan import NodePlan, Placement, models_of
from proto.presence import EngineBeat, EngineStatus
from proto.subjects import ENGINE_BEAT
from services.runner.crew.keeper import GRACE_S, Desk, Keeper
from services.runner.crew.process import EngineProcess

log = logging.getLogger(__name__)


class Crew:
    """Has as many engines as the plan says, each started beside the others."""

    def __init__(self, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        """``tasks`` holds one task for each engine, which ends when the engine has."""
        self._desk = desk
        self._group = tasks
        self._wanted: dict[EngineId, Placement] = {}
        self._keepers: dict[EngineId, Keeper] = {}
        self._tasks: dict[EngineId, asyncio.Task[None]] = {}
        self._listened: set[EngineId] = set()

    def follow(self, plan: NodePlan) -> None:
        """Start what the plan has and we do not, let go what it no longer has."""
        self._wanted = {placement.engine: placement for placement in plan.placements}
        for engine, keeper in self._keepers.items():
            placement = self._wanted.get(engine)
            if placement is None:
                keeper.let_go()
            elif placement != keeper.placement:
                keeper.update(placement)
        for engine in self._wanted.keys() - self._tasks.keys():
            self._tasks[engine] = self._group.create_task(self._keep(engine))

    async def _keep(self, engine: EngineId) -> None:
        """One keeper after the other: a placement that returns waits for the old one's end."""
        await self._listen(engine)
        while (placement := self._wanted.get(engine)) is not None:
            keeper = self._keepers[engine] = Keeper(self._desk, placement)
            await keeper.run()
        self._keepers.pop(engine, None)
        del self._tasks[engine]

    async def _listen(self, engine: EngineId) -> None:
        """Once for each engine that ever was here."""
        if engine not in self._listened:
            self._listened.add(engine)
            await self._desk.host.bus.listen(ENGINE_BEAT, self._hear, engine)

    def _hear(self, beat: EngineBeat) -> None:
        keeper = self._keepers.get(beat.engine)
        if keeper is not None:
            keeper.hear(beat)

    async def end_strangers(self, plan: NodePlan) -> None:
        """Engines that left the plan while no agent was there to stop them."""
        planned = {placement.engine for placement in plan.placements}
        for record in await self._desk.records.all():
            if record.node != self._desk.node or record.engine in planned:
                continue
            process = EngineProcess.adopt(record)
            if process is not None:
                log.info("ending %s, which is not in the plan", record.engine)
                await process.stop(GRACE_S)
            await self._desk.records.forget(record.engine)

    def stop(self) -> None:
        """End all engines; their tasks end with them."""
        self.follow(NodePlan(node=self._desk.node))

    def leave(self) -> None:
        """End all tasks and let the engines run, for the agent's next life to adopt."""
        for task in self._tasks.values():
            task.cancel()

    def statuses(self) -> list[EngineStatus]:
        return [keeper.status() for keeper in self._keepers.values()]

    def measured(self) -> dict[EngineId, int]:
        """What engines' processes take now, in bytes."""
        return {engine: keeper.memory_bytes for engine, keeper in self._keepers.items()}

    def is_at_work(self) -> bool:
        """Some engine serves somebody at this moment."""
        return any(keeper.is_at_work for keeper in self._keepers.values())

    def holds(self, model: ModelId) -> bool:
        """An engine has, or is about to have, a model's files open."""
        return any(model in models_of(keeper.placement) for keeper in self._keepers.values())
