"""That a machine has a credential of the mesh: it makes a key, and an invitation lets it in."""

import shlex

import msgspec

from bus.connection import Bus
from bus.errors import NobodyThere
from bus.membership import Membership
from ops.console.operator import operator
from ops.remote.errors import Foreign, Refused
from ops.remote.layout import Layout
from ops.remote.session import Session
from proto.credentials import Dismiss, Holder, ListCredentials
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.joining import Invite
from proto.subjects import CREDENTIALS, DISMISS, INVITE

LASTS_S = 600.0
"""An invitation, from its making until it is used."""


async def is_missing(session: Session, layout: Layout, bus: Bus, mesh: str, node: str) -> bool:
    """Whether it has to be let in. Raises RemoteError where that cannot be, MeshError, BusError."""
    member = await membership(session, layout)
    is_known = await is_member(bus, node)
    if member is not None and (member.mesh, member.node) != (mesh, node):
        raise Foreign(
            f"{session.host}: {layout.folder} holds {member.described}; undeploy that first, or "
            "choose another --folder"
        )
    if is_known and member is not None:
        return False
    if is_known:
        raise Refused(
            f"there is a node {node} already, and {session.host} does not hold its key; deploy it "
            f"under another name, NAME={session.host}, or send that away: `odyssai remove {node}`"
        )
    return True


async def enter(session: Session, layout: Layout, bus: Bus, node: str, release: str) -> None:
    """By a release that is installed there. Raises RemoteError, MeshError, BusError."""
    try:
        asked = Invite(node=NodeId(node), lasts_s=LASTS_S, actor=operator())
        invited = await bus.ask(INVITE, asked)
    except NobodyThere as error:
        raise Refused(
            "nobody lets machines in now: deploy where `odyssai up` or `odyssai bus keep` runs"
        ) from error
    command = f"{layout.release(release)}/venv/bin/odyssai"
    place = ("--home", layout.home, "--node", node)
    # By its input: arguments are seen by everybody on the machine.
    await session.run(
        f"umask 077; mkdir -p {shlex.quote(layout.home)} && "
        + shlex.join([command, "join", "-", "--only-enter", *place]),
        given=f"{invited.token}\n",
    )


async def membership(session: Session, layout: Layout) -> Membership | None:
    """What the machine holds. Raises Foreign."""
    text = await session.read(layout.membership)
    try:
        return msgspec.json.decode(text, type=Membership) if text else None
    except msgspec.DecodeError as error:
        raise Foreign(f"{session.host}: {layout.membership} cannot be read ({error})") from error


async def is_member(bus: Bus, node: str) -> bool:
    known = (await bus.ask(CREDENTIALS, ListCredentials())).credentials
    return any((each.role, each.name) == ("runner", node) for each in known)


async def withdraw(bus: Bus, node: str) -> bool:
    """Whether there was one. Raises MeshError, BusError."""
    try:
        await bus.ask(DISMISS, Dismiss(holder=str(Holder("runner", node)), actor=operator()))
    except MeshError as error:
        if error.code is Code.NOT_FOUND:
            return False
        raise
    return True
