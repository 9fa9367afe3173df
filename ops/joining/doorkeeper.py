"""Who may come in: keeps the members of this home's bus, whose server it alone tells of changes.

Runs beside the services of `odyssai up`, where the bus server's settings are.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from bus import authority, embedded, members
from bus.audit import AuditLog
from bus.connection import Bus
from bus.embedded import Access
from bus.errors import NotConnected
from bus.home import HomeError
from bus.key import Key
from bus.members import Invitation, Members
from bus.reload import reload
from proto.audit import Actor
from proto.errors import Code, MeshError
from proto.ids import NodeId, service_id
from proto.joining import Invite, Invited, Join, Joined, Revoke, Revoked, Token
from proto.subjects import INVITE, JOIN, REVOKE

log = logging.getLogger(__name__)

LOOK_S = 3600.0
"""How often the certificate is looked at, and the machine's addresses that it names."""


class Doorkeeper:
    """Answers INVITE, JOIN and REVOKE; an invitation that expires leaves the settings."""

    def __init__(
        self,
        home: Path,
        access: Access,
        taken: Iterable[NodeId],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``taken`` are the names of nodes that need no key, such as this machine's own."""
        self._home = home
        self._access = access
        self._taken = frozenset(taken)
        self._now = now
        self._members = embedded.known_members(home)
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with Bus.connect(self._access.url("mesh"), "ops:doorkeeper") as bus:
                    await self.serve(bus)
            except NotConnected as error:
                log.warning("nobody can join yet: %s", error)

    async def serve(self, bus: Bus) -> None:
        audit = AuditLog(bus, service_id("doorkeeper", str(os.getpid())))

        async def invite(asked: Invite) -> Invited:
            lasts = f"for {asked.lasts_s:.0f} s"
            async with audit.act("node.invite", asked.actor, asked.node or "", lasts):
                return await self._invite(asked)

        async def join(asked: Join) -> Joined:
            async with audit.act("node.join", Actor(name="invitation"), asked.node):
                return await self._join(asked)

        async def revoke(asked: Revoke) -> Revoked:
            async with audit.act("node.revoke", Actor(name="scheduler"), asked.node):
                return await self._revoke(asked)

        await bus.answer(INVITE, invite)
        await bus.answer(JOIN, join)
        await bus.answer(REVOKE, revoke)
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._until_next_look())
                continue
            with suppress(MeshError):
                async with self._turn:
                    await self._become(members.current(self._members, self._now()))

    def _until_next_look(self) -> float:
        expiry_s = self._members.next_expiry_s
        return LOOK_S if expiry_s is None else min(LOOK_S, max(0.0, expiry_s - self._now()))

    async def _invite(self, asked: Invite) -> Invited:
        key = Key.fresh()
        expires_s = self._now() + asked.lasts_s
        invitation = Invitation(key=key.public, expires_s=expires_s, node=asked.node)
        async with self._turn:
            await self._become(members.invited(self._members, invitation))
        token = Token(
            mesh=self._access.name,
            addresses=self._access.reachable,
            seed=key.seed,
            fingerprint=self._fingerprint(),
            expires_s=expires_s,
        )
        is_local = self._access.is_local
        return Invited(token=token.text(), expires_s=expires_s, is_local=is_local)

    async def _join(self, asked: Join) -> Joined:
        async with self._turn:
            await self._become(members.admitted(self._members, asked, self._now(), self._taken))
        log.info("node %s joined", asked.node)
        return Joined(node=asked.node)

    async def _revoke(self, asked: Revoke) -> Revoked:
        async with self._turn:
            was_member = asked.node in self._members.nodes
            if was_member:
                await self._become(members.revoked(self._members, asked.node))
        return Revoked(was_member=was_member)

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
