"""Who may connect to a home's bus: holders of credentials, and of invitations.

Decisions only: each takes the members as they are and gives them as they will be.
"""

from msgspec import Struct
from msgspec.structs import replace

from proto.credentials import Holder, InvitedRole
from proto.errors import Code, MeshError
from proto.ids import CLOUD, NodeId
from proto.joining import Join

OVERLAP_S = 10.0
"""So long two keys of one holder are good: its processes look for a new seed every second."""


class Invitation(Struct, frozen=True, kw_only=True):
    """Kept until it expires, also when it was used: so that who comes second is told why not."""

    key: str
    """Public; the seed is in the token."""
    expires_s: float
    """Unix time."""
    role: InvitedRole = "runner"
    node: NodeId | None = None
    """Good for this name only."""
    used_by: str = ""
    """The key of who came by it."""


class Member(Struct, frozen=True, kw_only=True):
    """A holder as the server knows it."""

    key: str
    """Public."""
    since_s: float
    """Unix time at which this key came to be."""
    old_key: str = ""
    """The one before; it is good for OVERLAP_S after ``since_s``."""

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, self.old_key) if self.old_key else (self.key,)


class Members(Struct, frozen=True, kw_only=True):
    holders: dict[str, Member] = {}
    """By the text of each ``Holder``."""
    invitations: tuple[Invitation, ...] = ()

    def get(self, holder: Holder) -> Member | None:
        return self.holders.get(str(holder))

    @property
    def next_expiry_s(self) -> float | None:
        """Unix time at which something is good no longer; None when nothing is bound to end."""
        ends = [invitation.expires_s for invitation in self.invitations]
        ends += [each.since_s + OVERLAP_S for each in self.holders.values() if each.old_key]
        return min(ends, default=None)


def invited(members: Members, invitation: Invitation) -> Members:
    return replace(members, invitations=(*members.invitations, invitation))


def joined(members: Members, join: Join, now_s: float) -> tuple[Members, Holder]:
    """With who asks, and what it is from now on.

    Raises MeshError: an invitation serves one key, and a name belongs to one.
    """
    found = next((each for each in members.invitations if each.key == join.invitation), None)
    if found is None or found.expires_s <= now_s:
        raise MeshError(Code.FORBIDDEN, "This invitation has expired. Ask for another.")
    if found.used_by not in ("", join.key):
        raise MeshError(Code.FORBIDDEN, "This invitation was used already. Ask for another.")
    if found.node not in (None, join.node):
        raise MeshError(
            Code.FORBIDDEN,
            f"This invitation is for {found.node} only: --node {found.node}.",
        )
    holder = Holder(found.role, join.node)
    used = replace(found, used_by=join.key)
    kept = tuple(used if each is found else each for each in members.invitations)
    return replace(admitted(members, holder, join.key, now_s), invitations=kept), holder


def admitted(members: Members, holder: Holder, key: str, now_s: float) -> Members:
    """Raises MeshError where somebody else has the name."""
    known = members.get(holder)
    if holder == Holder("runner", CLOUD) or (known is not None and known.key != key):
        raise MeshError(
            Code.CONFLICT,
            f"There is a {_kind(holder)} {holder.name} already. Join with another --node, or have "
            "it removed.",
        )
    return members if known else _with(members, holder, Member(key=key, since_s=now_s))


def rotated(members: Members, holder: Holder, key: str, now_s: float) -> Members:
    """Both keys are good for a moment. Raises MeshError for who is no member."""
    known = members.get(holder)
    if known is None:
        raise MeshError(Code.NOT_FOUND, f"There is no credential {holder}.")
    if known.key == key:
        return members
    return _with(members, holder, Member(key=key, since_s=now_s, old_key=known.key))


def revoked(members: Members, holder: Holder) -> Members:
    """Without the holder, and without what it could use to come back by itself."""
    known = members.get(holder)
    if known is None:
        return members
    return Members(
        holders={text: it for text, it in members.holders.items() if text != str(holder)},
        invitations=tuple(each for each in members.invitations if each.used_by not in known.keys),
    )


def current(members: Members, now_s: float) -> Members:
    """Without invitations that have expired, and without keys that were replaced."""
    lasting = tuple(each for each in members.invitations if each.expires_s > now_s)
    holders = {
        text: replace(it, old_key="") if it.since_s + OVERLAP_S <= now_s else it
        for text, it in members.holders.items()
    }
    now = Members(holders=holders, invitations=lasting)
    return members if now == members else now


def _with(members: Members, holder: Holder, member: Member) -> Members:
    return replace(members, holders={**members.holders, str(holder): member})


def _kind(holder: Holder) -> str:
    return "node" if holder.role == "runner" else holder.role
