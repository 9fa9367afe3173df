"""The model store's loop: look at the disk, tell the mesh what is there, carry out its tasks."""

import asyncio
import logging
from collections.abc import Callable

from bus.errors import BusError
from bus.state import Bucket
from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.plan import WantedTask
from proto.presence import TaskStatus
from proto.store import (
    STORES,
    DeleteTask,
    Entrust,
    Entrusted,
    PullTask,
    Store,
    StoredModel,
    StoreTask,
)
from proto.subjects import ENTRUST
from services.host import Host
from services.runner import hub_cache
from services.runner.child import Progressed, run_child
from services.runner.names import is_path
from services.runner.orders import FetchOrder
from services.runner.store import deletion
from services.runner.store.disk import disk_of
from services.runner.store.settings import read
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress, Tasks

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Between two looks at the disk: people and other programs put models there, too."""
DISK_GRAIN = 100_000_000
"""A change of the free space below it is not worth a record."""


class ModelStore:
    """The model files of one node."""

    def __init__(self, host: Host, node: NodeId) -> None:
        self.is_loaded: Callable[[ModelId], bool] = lambda _: False
        """Whether an engine of this node has the model; set by the agent."""
        self.is_known = asyncio.Event()
        """Set when all of the disk was looked at once: only then does ``find`` know what is not
        there."""
        self._host = host
        self._node = node
        self._shelf = Shelf(host.home, read())
        self._tasks = Tasks(self._work, self._discard)
        self._tokens: dict[JobId, str] = {}
        """The hub's, for single jobs. They may come before the plan speaks of the job."""
        self._told: set[JobId] = set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever: say what is on the disk, lend it, carry out tasks."""
        await self._host.bus.answer(ENTRUST, self._entrust, self._node)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking())
            group.create_task(self._tasks.run())

    def set_tasks(self, wanted: tuple[WantedTask, ...]) -> None:
        """From the node's plan. Tasks that left it are cancelled and forgotten."""
        told = {one.task.job for one in wanted}
        for job in self._told - told:
            self._tokens.pop(job, None)
        self._told = told
        self._tasks.set(wanted)

    def tasks(self) -> tuple[TaskStatus, ...]:
        """For the heartbeat."""
        return self._tasks.statuses()

    def find(self, name: str) -> StoredModel | None:
        """By id, alias or source."""
        return self._shelf.find(name)

    async def ensure(self, source: str) -> StoredModel:
        """What a flag names; fetched from the hub if it is not here. Raises MeshError."""
        model = await asyncio.to_thread(self._shelf.look, source)
        if model is None and is_path(source):
            raise MeshError(
                Code.MODEL_NOT_FOUND,
                f"there is no model folder {source}: it must hold config.json, a tokenizer and all "
                "safetensors that its index names; check the path",
            )
        if model is None:
            log.info("store: fetching %s from the hub", source)
            await self._fetch(FetchOrder(model=source), Progress())
            model = await asyncio.to_thread(self._shelf.look, source)
        if model is None:
            said = f"{source} was fetched and is no whole model: it lacks a tokenizer or weights"
            raise MeshError(Code.LOAD_FAILED, said)
        self._changed.set()
        return model

    # Tasks

    async def _work(self, task: StoreTask, progress: Progress) -> None:
        try:
            match task:
                case PullTask():
                    await self._fetch(self._order(task), progress)
                case DeleteTask():
                    await self._delete(task.model)
                case _:
                    raise MeshError(Code.UNSUPPORTED_PARAMETER, "this agent cannot do that")
        finally:
            self._changed.set()

    async def _discard(self, task: StoreTask) -> None:
        """What a cancelled task left."""
        if isinstance(task, PullTask):
            await asyncio.to_thread(deletion.discard_partial, task.model)

    def _order(self, task: PullTask) -> FetchOrder:
        return FetchOrder(
            model=task.model,
            revision=task.revision,
            token=self._tokens.get(task.job),
            trusts_code=self._shelf.trusts_code,
        )

    async def _fetch(self, order: FetchOrder, progress: Progress) -> None:
        def hear(word: Progressed) -> None:
            progress.tell(word.step, word.done_bytes, word.total_bytes)

        await run_child("services.runner.store.fetch", order, hear)

    async def _delete(self, model: ModelId) -> None:
        stored = self._shelf.find(model)
        if stored is None:
            return  # An earlier life of this agent may have done it.
        if self.is_loaded(stored.id):
            raise MeshError(
                Code.CONFLICT,
                f"{stored.id} is loaded on {self._node}: unload it first "
                f"(`odyssai unload {stored.id}`), then delete it",
            )
        found = self._shelf.place_of(stored.id)
        if found is None:
            said = f"{stored.id} comes with the software and goes with the package that carries it"
            raise MeshError(Code.CONFLICT, said)
        await asyncio.to_thread(deletion.delete, found, self._shelf.own)

    async def _entrust(self, entrust: Entrust) -> Entrusted:
        self._tokens[entrust.job] = entrust.token
        return Entrusted()

    # Inventory

    async def _keep_looking(self) -> None:
        while True:
            self._changed.clear()
            await asyncio.to_thread(self._shelf.scan)
            self.is_known.set()
            await self._publish()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _publish(self) -> None:
        """Only a change is written; one that the mesh has lost is written again."""
        disk = disk_of(hub_cache.root())
        record = Store(
            node=self._node,
            models=self._shelf.models,
            free_disk_bytes=disk.free // DISK_GRAIN * DISK_GRAIN,
            total_disk_bytes=disk.total,
        )
        try:
            stores = await Bucket.open(self._host.bus, STORES, Store)
            there = await stores.get(self._node)
            if there is None or there[0] != record:
                await stores.put(self._node, record)
        except BusError as trouble:
            log.info("store: saying what is here failed, again in %g s: %s", LOOK_S, trouble)
