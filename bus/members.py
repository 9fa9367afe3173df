"""Who may connect to a home's bus by a key: nodes, and holders of invitations.

Decisions only: each takes the members as they are and gives them as they will be.
"""

from msgspec import Struct
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import CLOUD, NodeId
from proto.joining import Join


class Invitation(Struct, frozen=True, kw_only=True):
    """Kept until it expires, also when it was used: so that who comes second is told why not."""

    key: str
    """Public; the seed is in the token."""
    expires_s: float
    """Unix time."""
    node: NodeId | None = None
    """Good for this name only."""
    used_by: str = ""
    """The key of the node that came by it."""


class Members(Struct, frozen=True, kw_only=True):
    nodes: dict[NodeId, str] = {}
    """The public key of each."""
    invitations: tuple[Invitation, ...] = ()

    @property
    def next_expiry_s(self) -> float | None:
        """Unix time; None without invitations."""
        return min((invitation.expires_s for invitation in self.invitations), default=None)


def invited(members: Members, invitation: Invitation) -> Members:
    return replace(members, invitations=(*members.invitations, invitation))


def admitted(members: Members, join: Join, now_s: float, taken: frozenset[NodeId]) -> Members:
    """With the node that asks. ``taken`` are names of machines that need no key.

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
            f"This invitation is for node {found.node} only: --node {found.node}.",
        )
    if join.node in (*taken, CLOUD) or members.nodes.get(join.node, join.key) != join.key:
        raise MeshError(
            Code.CONFLICT,
            f"There is a node {join.node} already. Join with another --node, or have it removed.",
        )
    used = replace(found, used_by=join.key)
    kept = tuple(used if each is found else each for each in members.invitations)
    return Members(nodes={**members.nodes, join.node: join.key}, invitations=kept)


def revoked(members: Members, node: NodeId) -> Members:
    """Without the node, and without what it could use to come back by itself."""
    key = members.nodes.get(node)
    return Members(
        nodes={name: it for name, it in members.nodes.items() if name != node},
        invitations=tuple(
            each for each in members.invitations if key is None or each.used_by != key
        ),
    )


def current(members: Members, now_s: float) -> Members:
    """Without invitations that have expired."""
    lasting = tuple(each for each in members.invitations if each.expires_s > now_s)
    return members if lasting == members.invitations else replace(members, invitations=lasting)
