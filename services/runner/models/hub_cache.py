"""The Hugging Face cache of this machine: where it is, and which whole models it holds.

Its layout is the hub's own, so that every other program finds what was fetched here, and the
other way round: ``models--org--name/`` has ``blobs/<etag>``, ``snapshots/<commit>/<file>``, which
are links to blobs, and ``refs/<branch>``, which name commits.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from services.runner.models.folder import is_whole

WHOLE = "odyssai"
"""The lock of whoever brings a whole model: agents of one machine may share the cache."""


class Snapshot(NamedTuple):
    """A whole model in the cache."""

    folder: Path
    id: str
    commit: str


def root() -> Path:
    """As huggingface_hub has it; read anew each time, since it is the environment's."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{cache}/huggingface")
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(chosen or f"{home}/hub")).expanduser()


def repository(id: str) -> Path:
    """Where a model of the hub is or would be."""
    return root() / f"models--{id.replace('/', '--')}"


def snapshot(id: str) -> Snapshot | None:
    """The whole one that ``main`` names, else the newest whole one, else None."""
    if "/" not in id:
        return None
    place = repository(id)
    commits = list(_by_age(place / "snapshots"))
    with suppress(OSError):
        commits.insert(0, (place / "refs" / "main").read_text().strip())
    for commit in commits:
        folder = place / "snapshots" / commit
        if commit and is_whole(folder):
            return Snapshot(folder, id, commit)
    return None


def snapshots() -> Iterator[Snapshot]:
    """One for each model that is whole."""
    for place in sorted(root().glob("models--*--*")):
        found = snapshot(place.name.removeprefix("models--").replace("--", "/", 1))
        if found is not None:
            yield found


def partial(blob: Path) -> Path:
    """Where a blob is while it comes."""
    return blob.with_name(f"{blob.name}.incomplete")


@contextmanager
def locked(id: str, what: str) -> Iterator[None]:
    """Nobody else on this machine does the same with the model meanwhile.

    ``what``: a blob, which huggingface_hub locks alike, or ``WHOLE``.
    """
    with _lock(id, what).open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@contextmanager
def unless_locked(id: str) -> Iterator[bool]:
    """False when somebody else on this machine brings the model just now."""
    with _lock(id, WHOLE).open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock(id: str, what: str) -> Path:
    file = root() / ".locks" / repository(id).name / f"{what}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def publish(
    id: str, commit: str, names: Iterable[tuple[str, str]], branch: str | None = None
) -> Path:
    """Make a snapshot of blobs that are there, and the current one: its folder.

    ``names`` are paths in the snapshot and the blobs behind them. A node has one current
    revision of a model, the one that was brought last: ``main`` names it, whatever its branch.
    """
    place = repository(id)
    folder = place / "snapshots" / commit
    for path, etag in names:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(place / "blobs" / etag, link.parent))
    for ref in {"main", branch or "main"} - {commit}:
        named = place / "refs" / ref
        named.parent.mkdir(parents=True, exist_ok=True)
        draft = named.with_name(f"{named.name}.new")
        draft.write_text(commit)
        draft.replace(named)
    return folder


def _by_age(folder: Path) -> Iterator[str]:
    """Newest first."""
    with suppress(OSError):
        aged = [(entry.stat().st_mtime, entry.name) for entry in os.scandir(folder)]
        yield from (name for _, name in sorted(aged, reverse=True))
