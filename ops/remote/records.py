"""Which nodes were deployed from this home, and how ssh reaches them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.home import ForeignState, private_folder, write_private
from ops.remote.errors import NotDeployed
from ops.remote.host import Host


class Deployment(Struct, frozen=True, kw_only=True):
    """One node's machine, as it was typed when it was deployed."""

    host: Host
    folder: str
    """Absolute, there."""


def known(home: Path) -> dict[str, Deployment]:
    """By node. Raises ForeignState."""
    path = _path(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Deployment])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ForeignState(
            f"{path} cannot be used ({error}); remove it, and deploy anew"
        ) from error


def find(home: Path, node: str) -> Deployment:
    """Raises NotDeployed, ForeignState."""
    there = known(home)
    if node not in there:
        names = ", ".join(sorted(there)) or "none was"
        raise NotDeployed(f"{node} was not deployed from {home} ({names}); see `odyssai deploy`")
    return there[node]


def keep(home: Path, node: str, deployment: Deployment) -> None:
    """Raises HomeError."""
    with _turn(home):
        _write(home, {**known(home), node: deployment})


def forget(home: Path, node: str) -> None:
    """Raises HomeError."""
    with _turn(home):
        _write(home, {name: it for name, it in known(home).items() if name != node})


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    """Two commands may deploy at once."""
    with (private_folder(home) / "machines.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(home: Path, there: dict[str, Deployment]) -> None:
    text = msgspec.json.format(msgspec.json.encode(there, order="sorted")).decode()
    write_private(_path(home), text)


def _path(home: Path) -> Path:
    return home / "machines.json"
