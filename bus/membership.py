"""What a home holds of the mesh that it joined: which one it is, where, and its own key."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.address import Address
from bus.home import ForeignState, HomeError, private_folder, write_private
from proto.credentials import Holder, InvitedRole
from proto.ids import NodeId

SEED = "key.seed"
NEXT_SEED = "next.seed"
"""While the home is told of it."""


class NodeOnly(HomeError):
    """The home has one part in a mesh, under one name, and nothing else."""


class Membership(Struct, frozen=True, kw_only=True):
    mesh: str
    """The name of the bus server."""
    node: NodeId
    """Its name there, also where it is no node."""
    addresses: tuple[str, ...]
    """``host:port`` each, those that answered last first."""
    is_encrypted: bool
    role: InvitedRole = "runner"

    def url(self, home: Path) -> str:
        """How its processes reach the bus, by the key and the certificate of the home."""
        folder = folder_of(home)
        ca = folder / "ca.pem" if self.is_encrypted else None
        servers = tuple(f"nats://{address}" for address in self.addresses)
        holder = Holder(self.role, self.node)
        return str(Address(servers, folder / SEED, ca, holder, self.mesh))

    def check(self, services: Sequence[str], node: str) -> None:
        """Raises NodeOnly unless they may run here with the home's key."""
        if tuple(services) != (self.role,):
            raise NodeOnly(
                f"this home is {self.described} and runs a {self.role} only; "
                "choose another --home for the rest"
            )
        if self.role == "runner" and node != self.node:
            raise NodeOnly(
                f"this home is {self.described}; choose another --home for a node {node}"
            )

    @property
    def described(self) -> str:
        kind = "node" if self.role == "runner" else self.role
        return f"{kind} {self.node} of mesh {self.mesh}"


def known_membership(home: Path) -> Membership | None:
    """None when the home has joined nobody. Raises ForeignState."""
    path = folder_of(home) / "membership.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Membership)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ForeignState(f"{path} cannot be used ({error}); remove {path.parent}") from error


def keep(home: Path, membership: Membership, certificate: str) -> None:
    """``certificate`` is the authority's; empty where nothing is encrypted."""
    folder = private_folder(folder_of(home))
    if certificate:
        write_private(folder / "ca.pem", certificate)
    write_private(folder / "membership.json", msgspec.json.encode(membership).decode())


def folder_of(home: Path) -> Path:
    """Holds the membership, the seed and the authority's certificate."""
    return home / "membership"
