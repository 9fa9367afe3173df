"""The model store's loop: look at the disk, tell the mesh what is there, carry out its tasks."""

import asyncio
import logging
import socket
from collections.abc import Callable

from bus.address import address_towards
from bus.errors import BusError
from bus.state import Bucket
from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.plan import WantedTask
from proto.presence import TaskStatus
from proto.store import (
    STORES,
    Entrust,
    Entrusted,
    FilesLent,
    LendFiles,
    Store,
    StoredModel,
    StoreTask,
)
from proto.subjects import ENTRUST, LEND_FILES
from services.host import Host
from services.runner.disk import disk_of
from services.runner.models import hub_cache
from services.runner.models.folder import only_pickled
from services.runner.models.names import is_path
from services.runner.store.copying import listed
from services.runner.store.lending import Lending, listen, serve, url_of
from services.runner.store.parts import parts_of
from services.runner.store.settings import read
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress, Tasks
from services.runner.store.work import Work

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Between two looks at the disk: people and other programs put models there, too."""
DISK_GRAIN = 100_000_000
"""A change of the free space below it is not worth a record."""


class ModelStore:
    """The model files of one node."""

    def __init__(self, host: Host, node: NodeId) -> None:
        self.is_known = asyncio.Event()
        """Set when all of the disk was looked at once: only then does ``find`` know what is not
        there."""
        self._host = host
        self._node = node
        self._settings = read()
        self._shelf = Shelf(host.home, self._settings)
        self._work = Work(host, node, self._shelf)
        self._tasks = Tasks(self._carry_out, self._work.discard)
        self._told: set[JobId] = set()
        self._lending = Lending()
        self.url = ""
        """Where other nodes come for files; empty: nowhere."""
        self._changed = asyncio.Event()
        self._looking = asyncio.Lock()

    @property
    def files_host(self) -> str:
        """The address that an operator named for other nodes; empty: none."""
        return self._settings.files_host

    async def run(self) -> None:
        """For ever: say what is on the disk, lend it, carry out tasks."""
        listener = self._listen()
        await self._host.bus.answer(ENTRUST, self._entrust, self._node)
        await self._host.bus.answer(LEND_FILES, self._lend, self._node)
        async with asyncio.TaskGroup() as group:
            if listener is not None:
                group.create_task(serve(self._lending, listener))
            group.create_task(self._keep_looking())
            group.create_task(self._tasks.run())

    def _listen(self) -> socket.socket | None:
        """None, and a word in the log, where it cannot: a node serves models all the same."""
        try:
            host = self._settings.files_host or address_towards(self._host.bus.url)
            listener = listen(host)
        except OSError as trouble:
            log.error(  # noqa: TRY400 - the sentence is the whole story
                "store: no node can copy models from here, since nothing can be listened on (%s): "
                "set ODYSSAI_FILES_HOST to an address of this machine",
                trouble,
            )
            return None
        self.url = url_of(listener)
        return listener

    def set_tasks(self, wanted: tuple[WantedTask, ...]) -> None:
        """From the node's plan. Tasks that left it are cancelled and forgotten."""
        told = {one.task.job for one in wanted}
        for job in self._told - told:
            self._work.tokens.pop(job, None)
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
            pickled = await asyncio.to_thread(only_pickled, source)
            if pickled:
                raise MeshError(
                    Code.LOAD_FAILED,
                    f"{source} has its weights as {', '.join(pickled[:3])} only, and these are not "
                    "opened: such files can run code. Convert them to safetensors, or choose a "
                    "conversion of the model that has them",
                )
            raise MeshError(
                Code.MODEL_NOT_FOUND,
                f"there is no model folder {source}: it must hold config.json, a tokenizer and all "
                "safetensors that its index names; check the path",
            )
        if model is None:
            log.info("store: fetching %s from the hub", source)
            await self._work.pull(source, Progress())
            model = await asyncio.to_thread(self._shelf.look, source)
        if model is None:
            said = f"{source} was fetched and is no whole model: it lacks a tokenizer or weights"
            raise MeshError(Code.LOAD_FAILED, said)
        self._changed.set()
        return model

    @property
    def is_loaded(self) -> Callable[[ModelId], bool]:
        """Whether an engine of this node has the model; set by the agent."""
        return self._work.is_loaded

    @is_loaded.setter
    def is_loaded(self, says: Callable[[ModelId], bool]) -> None:
        self._work.is_loaded = says

    async def _carry_out(self, task: StoreTask, progress: Progress) -> None:
        """It is done when the mesh knows what came of it."""
        await self.is_known.wait()
        await self._work.carry_out(task, progress)
        await self._look()

    async def _entrust(self, entrust: Entrust) -> Entrusted:
        """It may come before the plan speaks of the job."""
        self._work.tokens[entrust.job] = entrust.token
        return Entrusted()

    async def _lend(self, asked: LendFiles) -> FilesLent:
        await self.is_known.wait()
        known = self._shelf.find(asked.model)
        found = self._shelf.place_of(known) if known else None
        model = await asyncio.to_thread(self._shelf.look_again, found) if found else None
        if not self.url:
            said = f"{self._node} lends no files: its log says why; choose another node"
            raise MeshError(Code.INTERNAL, said)
        if model is None or found is None:
            said = f"{self._node} has no files of {asked.model} to lend: choose a node that has"
            raise MeshError(Code.MODEL_NOT_FOUND, said)
        parts = parts_of(found.folder, trusts_code=self._shelf.trusts_code)
        files = await asyncio.to_thread(listed, parts, self._shelf.hashes)
        ticket = self._lending.lend(parts)
        log.info("store: lending %s to %s", model.id, asked.borrower)
        return FilesLent(url=self.url, ticket=ticket, files=files, model=model)

    # Inventory

    async def _keep_looking(self) -> None:
        while True:
            self._changed.clear()
            await self._look()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        async with self._looking:
            await asyncio.to_thread(self._shelf.scan)
            self.is_known.set()
            await self._publish()

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
