"""A home whose bus runs, and whose door is kept."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bus import embedded
from bus.address import Address
from bus.connection import Bus
from bus.key import Key
from bus.state import Bucket
from ops.joining.doorkeeper import Doorkeeper
from proto.credentials import Holder
from proto.ids import NodeId
from proto.joining import Invite, Join, Token
from proto.plan import PLANS, NodePlan
from proto.subjects import INVITE, JOIN


@dataclass
class House:
    """A home whose bus runs, with a doorkeeper."""

    home: Path
    access: embedded.Access
    bus: Bus
    """Of the home's scheduler."""
    console: Bus

    async def invite(self, **asked: object) -> Token:
        invited = await self.console.ask(INVITE, Invite(**asked))  # type: ignore[arg-type]
        return Token.read(invited.token)

    def address(self, seed: str, holder: Holder) -> str:
        file = self.home / f"{holder}.seed"
        file.write_text(seed)
        ca = Path(self.access.ca) if self.access.ca else None
        server = f"nats://{self.access.address}"
        return str(Address((server,), file, ca, holder, self.access.name))

    async def join(self, node: str, token: Token | None = None) -> str:
        """The address by which the node connects."""
        token = token or await self.invite()
        key = Key.fresh()
        async with Bus.connect(self.ticket(token), "join:test") as guest:
            asked = Join(invitation=Key.of(token.seed).public, node=NodeId(node), key=key.public)
            joined = await guest.ask(JOIN, asked)
        return self.address(key.seed, Holder.of(f"{joined.role}.{node}"))

    def ticket(self, token: Token) -> str:
        """The address by which its holder may ask to join."""
        return self.address(token.seed, Holder("guest", Key.of(token.seed).public))


@asynccontextmanager
async def open_house(
    home: Path, host: str = embedded.LOOPBACK, now: Callable[[], float] = time.time
) -> AsyncIterator[House]:
    server = embedded.prepare(home, host, NodeId("hall"))
    process = await asyncio.create_subprocess_exec(
        *server.argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert await embedded.answers(server.access)
        access = server.access
        keeper = Doorkeeper(home, access, now)
        async with (
            Bus.connect(access.url("doorkeeper"), "test:door") as door,
            Bus.connect(access.url("scheduler"), "test:scheduler") as bus,
            Bus.connect(access.url("console"), "test:console") as console,
        ):
            serving = asyncio.create_task(keeper.serve(door))
            await Bucket.open(bus, PLANS, NodePlan)  # Made once all is answered.
            yield House(home, access, bus, console)
            serving.cancel()
    finally:
        process.kill()
        await process.wait()
        os.close(server.claim)
