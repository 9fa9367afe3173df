"""A model written anew in another form, by a child process that knows mlx."""

import asyncio
from contextlib import suppress
from pathlib import Path

from proto.errors import Code, MeshError
from proto.store import ConvertTask
from services.runner.children.child import run_child
from services.runner.children.orders import JOB_FILE, ConvertOrder
from services.runner.disk import check_room
from services.runner.models.paths import is_name
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress

CONVERT = "services.runner.engine.convert"
_WIDTH = {"float16": 16, "bfloat16": 16, "float32": 32, None: 16}
_SCALES_BITS = 32
"""A scale and a bias of 16 bits each for every group of numbers."""


async def convert(home: Path, shelf: Shelf, task: ConvertTask, progress: Progress) -> None:
    """Raises MeshError."""
    stored = shelf.find(task.model)
    if stored is None:
        said = f"there is no {task.model} on this node to convert: pull or copy it here first"
        raise MeshError(Code.MODEL_NOT_FOUND, said)
    folder = folder_of(shelf, task)
    if folder.exists():
        if _job_of(folder) == task.job:
            return
        said = f"there is a model {folder.name} already: delete it, or choose another name"
        raise MeshError(Code.CONFLICT, said)
    if stored.kind in ("embedder", "reranker"):
        said = f"{stored.id} is an {stored.kind}, which mlx-lm cannot convert: use it as it is"
        raise MeshError(Code.INVALID_REQUEST, said)
    numbers = await asyncio.to_thread(shelf.numbers_of, stored)
    coming = int(numbers * _bits_of(task) / 8)
    await asyncio.to_thread(check_room, shelf.own, coming, f"writing {folder.name}")
    order = ConvertOrder(
        source=stored.source,
        home=str(home),
        folder=str(folder),
        job=task.job,
        total_bytes=coming,
        bits=task.bits,
        group_size=task.group_size,
        dtype=task.dtype,
        trusts_code=shelf.trusts_code,
    )
    await run_child(CONVERT, order, progress.hear)


def folder_of(shelf: Shelf, task: ConvertTask) -> Path:
    """Its name without an owner: folders are called by their last part. Raises MeshError."""
    name = task.name.rpartition("/")[2]
    if not is_name(name):
        raise MeshError(Code.INVALID_REQUEST, f"{task.name!r} is no name for a model: choose one")
    return shelf.own / name


def _bits_of(task: ConvertTask) -> float:
    """Of a number, as it will be written."""
    if task.bits is None:
        return _WIDTH[task.dtype]
    return task.bits + _SCALES_BITS / task.group_size


def _job_of(folder: Path) -> str:
    with suppress(OSError):
        return (folder / JOB_FILE).read_text()
    return ""
