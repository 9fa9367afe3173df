"""A copy between nodes: the borrower asks for a loan, a child brings the files, both compare."""

import asyncio

from bus.connection import Bus
from bus.errors import BusError
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.store import CopyTask, FilesLent, LendFiles, LentFile
from proto.subjects import LEND_FILES
from services.runner.children.child import run_child
from services.runner.children.orders import BorrowOrder
from services.runner.store.hashes import Hashes
from services.runner.store.lent import expect_sound
from services.runner.store.parts import Part
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress

BORROW = "services.runner.store.borrow"
LEND_S = 60.0
"""The other node may have to read a model it never hashed before it can answer."""
LOANS = 5
"""How often a copy is taken up when the other node's agent was gone, or its loan had ended."""
AGAIN_S = 2.0


async def copy(bus: Bus, node: NodeId, shelf: Shelf, task: CopyTask, progress: Progress) -> None:
    """Raises MeshError."""
    for _ in range(LOANS - 1):
        try:
            return await _borrow(bus, node, shelf, task, progress)
        except MeshError as trouble:
            if trouble.code not in (Code.UPSTREAM, Code.CONFLICT):
                raise
            progress.step = "waiting for the other node"
        await asyncio.sleep(AGAIN_S)
    return await _borrow(bus, node, shelf, task, progress)


async def _borrow(bus: Bus, node: NodeId, shelf: Shelf, task: CopyTask, progress: Progress) -> None:
    lent = await _ask(bus, node, task)
    expect_sound(lent, trusts_code=shelf.trusts_code)
    folder = shelf.own / lent.model.id.rpartition("/")[2]
    order = BorrowOrder(
        model=lent.model.id,
        url=lent.url,
        ticket=lent.ticket,
        files=lent.files,
        revision=lent.model.revision,
        folder=str(folder),
    )
    await run_child(BORROW, order, progress.hear)
    progress.step = "verifying"
    source = lent.model.id if lent.model.revision else str(folder)
    model = await asyncio.to_thread(shelf.look, source)
    if model is None or model.fingerprint != lent.model.fingerprint:
        raise MeshError(
            Code.INTERNAL,
            f"{task.model} is not the same here as on {task.source} after the copy: its files may "
            "have changed there meanwhile, or only one of the two nodes has "
            "ODYSSAI_TRUST_REMOTE_CODE; see to that and copy again",
        )


async def _ask(bus: Bus, node: NodeId, task: CopyTask) -> FilesLent:
    question = LendFiles(model=task.model, borrower=node)
    try:
        return await bus.ask(LEND_FILES, question, task.source, timeout_s=LEND_S)
    except BusError as silent:
        said = f"{task.source} does not answer: check that its agent runs, then copy again"
        raise MeshError(Code.UPSTREAM, said) from silent


def listed(parts: list[Part], hashes: Hashes) -> tuple[LentFile, ...]:
    """What is lent, with the hashes by which the borrower checks it. Reads what it never read."""
    return tuple(
        LentFile(
            path=path,
            size=file.stat().st_size,
            sha256=hashes.of(file),
            blob=file.resolve().name if file.resolve().parent.name == "blobs" else "",
        )
        for path, file in parts
    )
