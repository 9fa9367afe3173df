"""Who may come in: keeps the members of this home's bus, whose server it alone tells of changes,
and makes the buckets in which the mesh keeps its state.

Runs beside the services of `odyssai up`, where the bus server's settings are.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bus import authority, certificates, embedded, members, seeds
from bus.audit import AuditLog
from bus.connection import Bus
from bus.embedded import Access
from bus.errors import NotConnected
from bus.home import HomeError
from bus.key import Key
from bus.members import Invitation, Member, Members
from bus.reload import reload
from ops import buckets
from proto.audit import Actor
from proto.credentials import (
    CERTIFICATE,
    Admit,
    Admitted,
    Credential,
    Credentials,
    Dismiss,
    Dismissed,
    Holder,
    InvitedRole,
    InviteRole,
    ListCredentials,
    Renew,
    Rotate,
    Rotated,
)
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.joining import Invite, Invited, Join, Joined, Revoke, Revoked, Token
from proto.subjects import (
    ADMIT,
    CREDENTIALS,
    DISMISS,
    INVITE,
    INVITE_ROLE,
    JOIN,
    RENEW,
    REVOKE,
    ROTATE,
    Question,
)

log = logging.getLogger(__name__)

Reply = Callable[[Any], Awaitable[Any]]

FINGERPRINT = 16
"""Digits of it that are shown."""
LOOK_S = 3600.0
"""How often the certificate is looked at, and the machine's addresses that it names."""


class Doorkeeper:
    """Answers what is asked of the bus; what is good no longer leaves the server's settings."""

    def __init__(self, home: Path, access: Access, now: Callable[[], float] = time.time) -> None:
        self._home = home
        self._access = access
        self._now = now
        self._members = embedded.known_members(home)
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with Bus.connect(self._access.url("doorkeeper"), "ops:doorkeeper") as bus:
                    await self.serve(bus)
            except NotConnected as error:
                log.warning("nobody can join yet: %s", error)

    async def serve(self, bus: Bus) -> None:
        audit = AuditLog(bus)
        for question, reply in self._questions(audit):
            await bus.answer(question, reply)
        await buckets.make(bus)
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._until_next_look())
                continue
            with suppress(MeshError):
                async with self._turn:
                    await self._become(members.current(self._members, self._now()))

    def _questions(self, audit: AuditLog) -> list[tuple[Question[Any, Any], Reply]]:
        """With what answers them; acts are written down."""

        def told(
            act: str,
            reply: Reply,
            target: Callable[[Any], str],
            by: Callable[[Any], Actor] = _actor,
        ) -> Reply:
            async def replied(asked: Any) -> Any:
                async with audit.act(act, by(asked), target(asked)):
                    return await reply(asked)

            return replied

        return [
            (INVITE, told("node.invite", self._invite, lambda asked: asked.node or "")),
            (INVITE_ROLE, told("credential.invite", self._invite_role, lambda asked: asked.role)),
            (JOIN, told("node.join", self._join, lambda asked: asked.node, _guest)),
            (REVOKE, told("node.revoke", self._revoke, lambda asked: asked.node, _scheduler)),
            (ADMIT, told("credential.admit", self._admit, lambda a: f"{a.role}.{a.name}")),
            (ROTATE, told("credential.rotate", self._rotate, lambda asked: asked.credential)),
            (RENEW, told("credential.renew", self._renew, lambda a: a.holder, _holder_itself)),
            (DISMISS, told("credential.revoke", self._dismiss, lambda asked: asked.holder)),
            (CREDENTIALS, self._list),
        ]

    def _until_next_look(self) -> float:
        expiry_s = self._members.next_expiry_s
        return LOOK_S if expiry_s is None else min(LOOK_S, max(0.0, expiry_s - self._now()))

    async def _invite(self, asked: Invite) -> Invited:
        return await self._invited("runner", asked.node, asked.lasts_s)

    async def _invite_role(self, asked: InviteRole) -> Invited:
        return await self._invited(asked.role, asked.name, asked.lasts_s)

    async def _invited(self, role: InvitedRole, name: NodeId | None, lasts_s: float) -> Invited:
        key = Key.fresh()
        expires_s = self._now() + lasts_s
        invitation = Invitation(key=key.public, expires_s=expires_s, role=role, node=name)
        async with self._turn:
            await self._become(members.invited(self._members, invitation))
        token = Token(
            mesh=self._access.name,
            addresses=self._access.reachable,
            seed=key.seed,
            fingerprint=self._fingerprint(),
            expires_s=expires_s,
            role=role,
        )
        is_local = self._access.is_local
        return Invited(token=token.text(), expires_s=expires_s, is_local=is_local)

    async def _join(self, asked: Join) -> Joined:
        async with self._turn:
            wanted, holder = members.joined(self._members, asked, self._now())
            await self._become(wanted)
        log.info("%s joined", holder)
        return Joined(node=asked.node, role=holder.role)

    async def _admit(self, asked: Admit) -> Admitted:
        async with self._turn:
            holder = Holder(asked.role, asked.name)
            wanted = members.admitted(self._members, holder, asked.key, self._now())
            await self._become(wanted)
        return Admitted()

    async def _revoke(self, asked: Revoke) -> Revoked:
        return Revoked(was_member=await self._withdraw(Holder("runner", asked.node)))

    async def _dismiss(self, asked: Dismiss) -> Dismissed:
        holder = _holder(asked.holder)
        if holder.role in ("doorkeeper", "sys"):
            raise MeshError(
                Code.CONFLICT, f"Nobody could let others in without {holder}: rotate it instead."
            )
        if not await self._withdraw(holder):
            raise MeshError(Code.NOT_FOUND, f"There is no credential {holder}.")
        return Dismissed()

    async def _withdraw(self, holder: Holder) -> bool:
        """Whether it was a member."""
        async with self._turn:
            if self._members.get(holder) is None:
                return False
            await self._become(members.revoked(self._members, holder))
            seeds.file_of(self._access.folder, holder).unlink(missing_ok=True)
        log.info("%s was withdrawn", holder)
        return True

    async def _list(self, _: ListCredentials) -> Credentials:
        async with self._turn:  # What the server lives by, and not what it is about to be told.
            holders = sorted(self._members.holders.items())
        return Credentials(
            credentials=tuple(self._told(Holder.of(text), it) for text, it in holders)
        )

    def _told(self, holder: Holder, member: Member) -> Credential:
        return Credential(
            role=holder.role,
            name=holder.name,
            fingerprint=authority.fingerprint(member.key.encode())[:FINGERPRINT],
            since_s=member.since_s,
            is_local=seeds.file_of(self._access.folder, holder).exists(),
            is_changing=bool(member.old_key),
        )

    async def _rotate(self, asked: Rotate) -> Rotated:
        if asked.credential == CERTIFICATE and not self._access.ca:
            raise MeshError(
                Code.CONFLICT, "The bus is on loopback, where nothing is encrypted: no certificate."
            )
        if asked.credential == CERTIFICATE:
            async with self._turn:
                certificates.renew(self._access.folder)
                await self._become(self._members)
            return Rotated()
        holder = _holder(asked.credential)
        if not seeds.file_of(self._access.folder, holder).exists():
            raise MeshError(
                Code.CONFLICT,
                f"The seed of {holder} is not in this home: run `odyssai credentials rotate` on "
                "the machine that has it.",
            )
        key = Key.fresh()
        async with self._turn:
            await self._become(members.rotated(self._members, holder, key.public, self._now()))
            seeds.keep(self._access.folder, holder, key.seed)
        log.info("%s has a new key", holder)
        return Rotated()

    async def _renew(self, asked: Renew) -> Rotated:
        holder = _holder(asked.holder)
        async with self._turn:
            await self._become(members.rotated(self._members, holder, asked.key, self._now()))
        log.info("%s has made itself a new key", holder)
        return Rotated()

    async def _become(self, wanted: Members) -> None:
        """The members are these from now on. Raises MeshError when the server was not told."""
        try:
            embedded.keep_members(self._home, self._access, wanted)
            self._members = wanted
            await reload(self._access)
        except (HomeError, NotConnected, OSError) as error:
            raise MeshError(
                Code.BUS_UNAVAILABLE, f"The bus server was not told yet: {error}. Ask again."
            ) from error
        finally:
            self._changed.set()

    def _fingerprint(self) -> str:
        if not self._access.ca:
            return ""
        return authority.fingerprint_of(Path(self._access.ca).read_text())


def _actor(asked: Any) -> Actor:
    actor: Actor = asked.actor
    return actor


def _guest(_: Join) -> Actor:
    return Actor(name="invitation")


def _scheduler(_: Revoke) -> Actor:
    return Actor(name="scheduler")


def _holder_itself(asked: Renew) -> Actor:
    return Actor(name=asked.holder)


def _holder(text: str) -> Holder:
    """Raises MeshError."""
    try:
        return Holder.of(text)
    except ValueError as error:
        raise MeshError(Code.INVALID_REQUEST, f"{error}.") from error
