"""The seeds of a home's own credentials, as files: made when they are first needed."""

from collections.abc import Iterator
from pathlib import Path

from bus.home import ForeignState, private_folder, write_private
from bus.members import Members, admitted
from proto.credentials import HOME, Holder, Role
from proto.errors import MeshError
from proto.ids import NodeId

OWN_ROLES: tuple[Role, ...] = (
    "gateway", "scheduler", "cloud", "health", "console", "ops", "doorkeeper", "sys",
)  # fmt: skip


def file_of(folder: Path, holder: Holder) -> Path:
    return folder / "keys" / f"{holder}.seed"


def own_holders(node: NodeId | None) -> Iterator[Holder]:
    """Of a home, and of the node that its machine is."""
    yield from (Holder(role, HOME) for role in OWN_ROLES)
    if node is not None:
        yield Holder("runner", node)


def settled(folder: Path, members: Members, node: NodeId | None, now_s: float) -> Members:
    """With the home's own, each with a seed in ``folder``. Raises ForeignState."""
    private_folder(folder / "keys")
    for holder in own_holders(node):
        if members.get(holder) is None or not file_of(folder, holder).exists():
            members = with_own(folder, members, holder, now_s)
    return members


def keep(folder: Path, holder: Holder, seed: str) -> None:
    write_private(file_of(folder, holder), seed)


def with_own(folder: Path, members: Members, holder: Holder, now_s: float) -> Members:
    """With one whose seed is, or is now made, in ``folder``. Raises ForeignState."""
    # Takes its time to import, and is needed the first time only.
    from bus.key import BadSeed, Key

    file = file_of(folder, holder)
    try:
        if not file.exists():
            write_private(file, Key.fresh().seed)
        return admitted(members, holder, Key.of(file.read_text()).public, now_s)
    except MeshError as error:
        file.unlink()
        raise ForeignState(f"{holder} cannot be here: {error.message}") from error
    except (OSError, BadSeed) as error:
        raise ForeignState(f"{file} cannot be used ({error}); remove it") from error
