"""How each task on a node's model files is carried out."""

import asyncio
from collections.abc import Callable

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.store import ConvertTask, CopyTask, DeleteTask, PullTask, StoreTask
from services.host import Host
from services.runner.children.child import run_child
from services.runner.children.orders import FetchOrder
from services.runner.store import deletion
from services.runner.store.conversion import convert, folder_of
from services.runner.store.copying import copy
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress

FETCH = "services.runner.store.fetch"


class Work:
    """Everything that a task may be, on one node."""

    def __init__(self, host: Host, node: NodeId, shelf: Shelf) -> None:
        self.is_loaded: Callable[[ModelId], bool] = lambda _: False
        self.tokens: dict[JobId, str] = {}
        """The hub's, for single jobs."""
        self._host = host
        self._node = node
        self._shelf = shelf

    async def carry_out(self, task: StoreTask, progress: Progress) -> None:
        """What an earlier life of the agent has done is not done again. Raises MeshError."""
        match task:
            case PullTask():
                await self.pull(task.model, progress, task.revision, self.tokens.get(task.job))
            case CopyTask():
                await copy(self._host.bus, self._node, self._shelf, task, progress)
            case ConvertTask():
                await convert(self._host.home, self._shelf, task, progress)
            case DeleteTask():
                await self._delete(task.model)

    async def discard(self, task: StoreTask) -> None:
        """What a cancelled task left."""
        match task:
            case PullTask():
                await asyncio.to_thread(deletion.discard_partial, task.model)
            case CopyTask():
                folder = self._shelf.own / task.model.rpartition("/")[2]
                await asyncio.to_thread(deletion.discard_partial, task.model)
                await asyncio.to_thread(deletion.discard_draft, folder)
            case ConvertTask():
                folder = folder_of(self._shelf, task)
                await asyncio.to_thread(deletion.discard_draft, folder)
            case DeleteTask():
                return

    async def pull(
        self, model: str, progress: Progress, revision: str | None = None, token: str | None = None
    ) -> None:
        trusts = self._shelf.trusts_code
        order = FetchOrder(model=model, revision=revision, token=token, trusts_code=trusts)
        await run_child(FETCH, order, progress.hear)

    async def _delete(self, model: ModelId) -> None:
        stored = self._shelf.find(model)
        if stored is None:
            return
        if self.is_loaded(stored.id):
            raise MeshError(
                Code.CONFLICT,
                f"{stored.id} is loaded on {self._node}: unload it first "
                f"(`odyssai unload {stored.id}`), then delete it",
            )
        found = self._shelf.place_of(stored)
        if found is None:
            said = f"{stored.id} comes with the software and goes with the package that carries it"
            raise MeshError(Code.CONFLICT, said)
        await asyncio.to_thread(deletion.delete, found, self._shelf.own)
