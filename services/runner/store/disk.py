"""Whether a disk has room for what is to come, before the first byte of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from proto.errors import Code, MeshError

SPARE_SHARE = 0.05
"""Of what is to come: file systems take some for themselves, and others write, too."""


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


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
