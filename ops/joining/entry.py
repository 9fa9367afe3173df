"""Entering a mesh by an invitation: it is found, proven to be the one, and asked to let us in."""

import os
from pathlib import Path

from msgspec import structs

from bus import embedded, membership
from bus.address import Address
from bus.connection import Bus
from bus.errors import NobodyThere, TurnedAway
from bus.handshake import authority_of
from bus.home import ForeignState, claim_home, private_folder, write_private
from bus.key import BadSeed, Key
from bus.membership import Membership
from ops.joining.finding import find, split
from proto.credentials import INVITED_ROLES, Holder, InvitedRole
from proto.ids import NodeId
from proto.joining import Join, Token
from proto.subjects import JOIN

CONNECT_S = 5.0


class CannotJoin(Exception):
    """Why not, and what to do."""


async def enter(home: Path, token: Token, node: str | None, machine: str) -> Membership:
    """Become a member. ``node`` is the wanted name; None: the one it had, or the machine's.

    Raises CannotJoin, HomeError, BusError, MeshError.
    """
    claim = claim_home(home)
    try:
        before = _suitable(home, token)
        name = NodeId(node or (before.node if before else machine))
        addresses = await find(token.mesh, token.addresses)
        if not addresses:
            raise CannotJoin(_unreachable(token))
        certificate = await _certificate(token, addresses)
        member = Membership(
            mesh=token.mesh,
            node=name,
            role=_role(token),
            addresses=tuple(dict.fromkeys((*addresses, *token.addresses))),
            is_encrypted=bool(certificate),
        )
        await _ask(home, token, structs.replace(member, addresses=addresses), certificate)
        membership.keep(home, member, certificate)
    finally:
        os.close(claim)
    return member


def _suitable(home: Path, token: Token) -> Membership | None:
    """What the home holds of this mesh already. Raises CannotJoin when it is another's."""
    if embedded.known_access(home):
        raise CannotJoin(f"{home} has a mesh of its own; choose another --home")
    before = membership.known_membership(home)
    if before is not None and before.mesh != token.mesh:
        raise CannotJoin(
            f"{home} belongs to mesh {before.mesh}; choose another --home, "
            f"or remove {membership.folder_of(home)}"
        )
    return before


def _unreachable(token: Token) -> str:
    return (
        f"mesh {token.mesh} does not answer at {', '.join(token.addresses)}, nor on the local "
        "network; does it run, with --bus-host, and does a firewall stand between?"
    )


async def _certificate(token: Token, addresses: tuple[str, ...]) -> str:
    """Of the authority that the token names; empty where nothing is encrypted."""
    if not token.fingerprint:
        return ""
    for address in addresses:
        try:
            found = await authority_of(*split(address), token.fingerprint)
        except OSError as error:
            raise CannotJoin(f"no encrypted connection to {address}: {error}") from error
        if found:
            return found
    raise CannotJoin(
        f"who answers at {', '.join(addresses)} is not mesh {token.mesh}: its certificate is not "
        "the one that the invitation names. Do not trust that network, or ask for another "
        "invitation if the mesh was set up anew."
    )


async def _ask(home: Path, token: Token, member: Membership, certificate: str) -> None:
    """Have the bus know this home's key."""
    key = own_key(home)
    folder = private_folder(membership.folder_of(home))
    seed, ca = folder / "invitation.seed", folder / "ca.pem"
    try:
        invitation = Key.of(token.seed)
        write_private(seed, token.seed)
        if certificate:
            write_private(ca, certificate)
        servers = tuple(f"nats://{address}" for address in member.addresses)
        guest = Holder("guest", invitation.public)
        address = Address(servers, seed, ca if certificate else None, guest, token.mesh)
        async with Bus.connect(str(address), f"join:{member.node}", CONNECT_S) as bus:
            asked = Join(invitation=invitation.public, node=member.node, key=key.public)
            await bus.ask(JOIN, asked)
    except BadSeed as error:
        raise CannotJoin("this invitation was mistyped; copy it again") from error
    except TurnedAway as error:
        raise CannotJoin(
            f"mesh {token.mesh} does not know this invitation: it was used, or has expired; "
            "ask for another: `odyssai invite`"
        ) from error
    except NobodyThere as error:
        raise CannotJoin(f"nobody opens at mesh {token.mesh} now; try again") from error
    finally:
        seed.unlink(missing_ok=True)


def _role(token: Token) -> InvitedRole:
    """Raises CannotJoin."""
    for role in INVITED_ROLES:
        if role == token.role:
            return role
    raise CannotJoin(f"this odyssai knows no {token.role}; it is older than the mesh")


def own_key(home: Path) -> Key:
    """Made when it is first needed. Raises ForeignState."""
    path = private_folder(membership.folder_of(home)) / membership.SEED
    try:
        if not path.exists():
            write_private(path, Key.fresh().seed)
        return Key.of(path.read_text())
    except (OSError, BadSeed) as error:
        raise ForeignState(f"{path} cannot be used ({error}); remove {path.parent}") from error
