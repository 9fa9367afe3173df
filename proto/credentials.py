"""Who may be on the bus: credentials by role and name, and what is said about them."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from proto.audit import NOBODY, Actor
from proto.joining import Name, PublicKey
from proto.message import Message

Role = Literal[
    "gateway", "scheduler", "runner", "cloud", "health",
    "console", "ops", "doorkeeper", "sys", "guest",
]  # fmt: skip
"""``console`` orders, ``ops`` hears telemetry, ``doorkeeper`` lets others in, ``sys`` is the one
whom the server obeys, ``guest`` has an invitation."""
ROLES: tuple[Role, ...] = get_args(Role)
InvitedRole = Literal["gateway", "scheduler", "runner", "cloud", "health", "ops"]
"""Those that another machine can have."""
INVITED_ROLES: tuple[InvitedRole, ...] = get_args(InvitedRole)
HOME = "home"
"""The name of a home's own credentials, its runner's apart, which is the node's."""
CERTIFICATE = "certificate"
"""In place of a holder: what the bus server shows of itself."""


class Holder(Struct, frozen=True, array_like=True):
    """Whose a credential is. As text ``<role>.<name>``, two tokens of a subject."""

    role: Role
    name: str

    @classmethod
    def of(cls, text: str) -> "Holder":
        """Raises ValueError."""
        role, _, name = text.partition(".")
        for known in ROLES:
            if role == known and name:
                return cls(known, name)
        raise ValueError(f"{text!r} is no credential, such as gateway.{HOME}")

    def __str__(self) -> str:
        return f"{self.role}.{self.name}"


class InviteRole(Message, frozen=True, kw_only=True):
    """Ask the doorkeeper to invite somebody else than a node. Answered by ``Invited``."""

    role: InvitedRole
    name: Name | None = None
    """Good for this name only; None: for any that is free."""
    lasts_s: Annotated[float, Meta(gt=0)] = 86_400.0
    actor: Actor = NOBODY


class Admit(Message, frozen=True, kw_only=True):
    """Let in another process of the home's own machine, by a key that it has made.

    Answered by ``Admitted``; the same again changes nothing.
    """

    role: InvitedRole
    name: Name
    key: PublicKey
    actor: Actor = NOBODY


class Admitted(Message, frozen=True, kw_only=True, tag="admitted"):
    pass


class ListCredentials(Message, frozen=True, kw_only=True):
    """Answered by ``Credentials``."""


class Credential(Struct, frozen=True, kw_only=True):
    role: Role
    name: str
    fingerprint: str
    """Of the public key."""
    since_s: float
    """Unix time at which the key came to be."""
    is_local: bool
    """Its seed is in the home."""
    is_changing: bool = False
    """An older key is good for a moment more."""


class Credentials(Message, frozen=True, kw_only=True, tag="credentials"):
    credentials: tuple[Credential, ...]


class Rotate(Message, frozen=True, kw_only=True):
    """Give a holder whose seed is in the home a new key, or the server a new certificate.

    Answered by ``Rotated`` as soon as the new one is good; the old one is so for OVERLAP_S more.
    """

    credential: str
    """A holder, or CERTIFICATE."""
    actor: Actor = NOBODY


class Renew(Message, frozen=True, kw_only=True):
    """Said by a holder of itself: it has made a new key. Answered by ``Rotated``."""

    holder: str
    key: PublicKey


class Rotated(Message, frozen=True, kw_only=True, tag="rotated"):
    pass


class Dismiss(Message, frozen=True, kw_only=True):
    """Withdraw a credential: its connections end at once. Answered by ``Dismissed``."""

    holder: str
    actor: Actor = NOBODY


class Dismissed(Message, frozen=True, kw_only=True, tag="dismissed"):
    pass
