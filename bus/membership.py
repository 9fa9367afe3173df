"""What a home holds of the mesh that it joined: which one it is, where, and the node's own key."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.address import Address
from bus.home import ForeignState, HomeError, private_folder, write_private
from proto.ids import NodeId


class NodeOnly(HomeError):
    """The home is one node of a mesh: it runs a runner, under one name, and nothing else."""


class Membership(Struct, frozen=True, kw_only=True):
    mesh: str
    """The name of the bus server."""
    node: NodeId
    addresses: tuple[str, ...]
    """``host:port`` each, those that answered last first."""
    is_encrypted: bool

    def url(self, home: Path) -> str:
        """How the node's processes reach the bus, by the key and the certificate of the home."""
        folder = folder_of(home)
        ca = folder / "ca.pem" if self.is_encrypted else None
        servers = tuple(f"nats://{address}" for address in self.addresses)
        return str(Address(servers, folder / "node.seed", ca, self.mesh))

    def check(self, services: Sequence[str], node: str) -> None:
        """Raises NodeOnly unless they may run here with the node's key."""
        if tuple(services) != ("runner",):
            raise NodeOnly(
                f"this home is node {self.node} of mesh {self.mesh} and runs a runner only; "
                "choose another --home for the rest"
            )
        if node != self.node:
            raise NodeOnly(
                f"this home is node {self.node} of mesh {self.mesh}; choose another --home for "
                f"a node {node}"
            )


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
    """Holds the membership, the node's seed and the authority's certificate."""
    return home / "membership"
