"""How a machine becomes part of a mesh: invitations, what is in their tokens, and who is let in."""

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proto.audit import NOBODY, Actor
from proto.ids import NodeId
from proto.message import Message

NODE_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A node's name is one token of a subject, and part of others."""
Name = Annotated[NodeId, Meta(pattern=NODE_PATTERN)]
PublicKey = Annotated[str, Meta(pattern="^U[A-Z2-7]{55}$")]
"""An nkey of a user; its other half, the seed, stays where it was made."""

_MARK = "odyssai-"


class BadToken(ValueError):
    """The text is no invitation, or only a part of one."""


class Token(Struct, frozen=True, array_like=True):
    """All that a machine needs to find a mesh, to know it from an impostor, and to ask for entry.

    It travels outside of the bus, from hand to hand; who has it may join once.
    """

    mesh: str
    """The name of the bus server."""
    addresses: tuple[str, ...]
    """``host:port`` each, the likeliest first."""
    seed: str
    """Of a key that may ask to join and do nothing else."""
    fingerprint: str
    """SHA-256 of the authority's certificate; empty: the bus is on loopback and not encrypted."""
    expires_s: float
    """Unix time."""
    role: str = "runner"
    """A ``credentials.InvitedRole``: what who comes by it will be."""

    def text(self) -> str:
        """One word without spaces."""
        packed = base64.urlsafe_b64encode(msgspec.msgpack.encode(self))
        return _MARK + packed.decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> "Token":
        """Raises BadToken."""
        mark, _, packed = text.strip().partition("-")
        if f"{mark}-" != _MARK:
            raise BadToken(f"no invitation: it begins with {_MARK}")
        try:
            padded = packed + "=" * (-len(packed) % 4)
            body = base64.b64decode(padded.encode(), altchars=b"-_", validate=True)
            return msgspec.msgpack.decode(body, type=cls)
        except (binascii.Error, UnicodeEncodeError, msgspec.DecodeError) as error:
            raise BadToken("not a whole invitation; copy all of it, to its end") from error


class Invite(Message, frozen=True, kw_only=True):
    """Ask the bus's doorkeeper for an invitation. Answered by ``Invited``."""

    node: Name | None = None
    """Good for a node of this name only; None: for any name that is free."""
    lasts_s: Annotated[float, Meta(gt=0)] = 86_400.0
    actor: Actor = NOBODY
    """Who invites, for the audit log."""


class Invited(Message, frozen=True, kw_only=True, tag="invited"):
    token: str
    expires_s: float
    """Unix time."""
    is_local: bool = False
    """The bus listens on loopback only: good for another agent on the same machine."""


class Join(Message, frozen=True, kw_only=True):
    """Ask to become what the invitation is for. Said with its key; answered by ``Joined``.

    Saying it again with the same name and key is answered in the same way.
    """

    invitation: PublicKey
    """The invitation's own public key: told to nobody but its holder."""
    node: Name
    """Of who asks, also where that is no node."""
    key: PublicKey
    """By which it will connect."""


class Joined(Message, frozen=True, kw_only=True, tag="joined"):
    """The bus knows the key from now on."""

    node: NodeId
    role: str = "runner"


class Revoke(Message, frozen=True, kw_only=True):
    """Withdraw a node's key: its connections end at once. Answered by ``Revoked``."""

    node: NodeId


class Revoked(Message, frozen=True, kw_only=True, tag="revoked"):
    was_member: bool
    """False: the bus knew no key of that node, such as of one that came with a password."""
