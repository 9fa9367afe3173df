"""What a home holds of the mesh that it joined: which one it is, where, and the node's own key."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.address import Address
from bus.embedded import EmbeddedError, ForeignState, private_folder, write_private
from bus.key import BadSeed, Key
from proto.ids import NodeId


class NodeOnly(EmbeddedError):
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
        folder = _folder(home)
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
    path = _folder(home) / "membership.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Membership)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ForeignState(f"{path} cannot be used ({error}); remove {path.parent}") from error


def keep(home: Path, membership: Membership, certificate: str) -> None:
    """``certificate`` is the authority's; empty where nothing is encrypted."""
    folder = private_folder(_folder(home))
    if certificate:
        write_private(folder / "ca.pem", certificate)
    write_private(folder / "membership.json", msgspec.json.encode(membership).decode())


def node_key(home: Path) -> Key:
    """The node's own, made when it is first needed. Raises ForeignState."""
    path = private_folder(_folder(home)) / "node.seed"
    try:
        if not path.exists():
            write_private(path, Key.fresh().seed)
        return Key.of(path.read_text())
    except (OSError, BadSeed) as error:
        raise ForeignState(f"{path} cannot be used ({error}); remove {path.parent}") from error


def _folder(home: Path) -> Path:
    return home / "membership"
