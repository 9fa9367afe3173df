"""Whether a disk has room for what is to come: before the first byte of it, and while it comes."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from proto.errors import Code, MeshError

SPARE_SHARE = 0.05
"""Of what is to come: file systems take some for themselves, and others write, too."""


FULL = (errno.ENOSPC, errno.EDQUOT)


class Disk(NamedTuple):
    total: int
    free: int


def disk_of(folder: Path) -> Disk:
    """Of the disk that a folder is on, or would be."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    usage = shutil.disk_usage(there)
    return Disk(usage.total, usage.free)


def check_room(
    folder: Path, coming_bytes: int, what: str, measure: Callable[[Path], Disk] = disk_of
) -> None:
    """Raises MeshError, with the numbers."""
    needed = int(coming_bytes * (1 + SPARE_SHARE))
    free = measure(folder).free
    if needed > free:
        raise MeshError(
            Code.NO_DISK,
            f"{what} needs {_gb(needed)} on the disk of {folder}, where {_gb(free)} are free: "
            f"delete {_gb(needed - free)} there (`odyssai rm` deletes models), or choose "
            "another node",
        )


@contextmanager
def room(
    folder: Path, coming: Callable[[], int], what: str, measure: Callable[[Path], Disk] = disk_of
) -> Iterator[None]:
    """For what is written inside. ``coming`` says how many bytes are not there yet.

    Raises MeshError, with the numbers, when there is too little; others write to the disk, too, so
    that it may be full on the way.
    """
    check_room(folder, coming(), what, measure)
    try:
        yield
    except OSError as trouble:
        if trouble.errno not in FULL:
            raise
        needed, free = int(coming() * (1 + SPARE_SHARE)), measure(folder).free
        raise MeshError(
            Code.NO_DISK,
            f"the disk of {folder} was full before all of {what} was there: {_gb(needed)} are to "
            f"come and {_gb(free)} are free. Delete {_gb(max(needed - free, 0))} there "
            "(`odyssai rm` deletes models) and try again: what came is kept",
        ) from trouble


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
