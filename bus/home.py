"""The folder in which one odyssai keeps its state: claimed by one process, read by nobody else."""

import fcntl
import os
import stat
import time
from pathlib import Path

CLAIM_S = 2.0
"""A supervisor that was killed leaves a server that needs a moment to end."""


class HomeError(Exception):
    """A home cannot be used."""


class HomeInUse(HomeError):
    """Another odyssai runs on this home."""


class ForeignState(HomeError):
    """A folder or file of the home is not what odyssai left there."""


def claim_home(home: Path) -> int:
    """Take a home for this process and for whoever inherits the descriptor. Raises HomeInUse."""
    _make_folder(home)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    end = time.monotonic() + CLAIM_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise HomeInUse(
                f"odyssai runs on {home} already, as process {holder}; "
                "end it, or choose another --home"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock


def private_folder(folder: Path) -> Path:
    """Nobody else may look inside. Raises ForeignState when it is not ours."""
    _make_folder(folder)
    if folder.stat().st_uid != os.geteuid():
        raise ForeignState(f"{folder} belongs to another user")
    folder.chmod(stat.S_IRWXU)
    return folder


def write_private(path: Path, text: str) -> None:
    """Whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ForeignState(f"{folder} is not a folder") from error
    except OSError as error:
        raise ForeignState(f"{folder} cannot be made: {error.strerror}") from error
