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
from ops.joining.doorkeeper import Doorkeeper
from proto.ids import NodeId
from proto.joining import Invite, Join, Token
from proto.subjects import INVITE, JOIN


@dataclass
class House:
    """A home whose bus runs, with a doorkeeper."""

    home: Path
    access: embedded.Access
    bus: Bus
    """Of one who may all."""

    async def invite(self, **asked: object) -> Token:
        invited = await self.bus.ask(INVITE, Invite(**asked))  # type: ignore[arg-type]
        return Token.read(invited.token)

    def address(self, seed: str, name: str = "key") -> str:
        file = self.home / name
        file.write_text(seed)
        ca = Path(self.access.ca) if self.access.ca else None
        server = f"nats://{self.access.address}"
        return str(Address((server,), seed=file, ca=ca, name=self.access.name))

    async def join(self, node: str, token: Token | None = None) -> str:
        """The address by which the node connects."""
        token = token or await self.invite()
        key = Key.fresh()
        async with Bus.connect(self.address(token.seed, "ticket"), "join:test") as guest:
            asked = Join(invitation=Key.of(token.seed).public, node=NodeId(node), key=key.public)
            await guest.ask(JOIN, asked)
        return self.address(key.seed, node)


@asynccontextmanager
async def open_house(
    home: Path, host: str = embedded.LOOPBACK, now: Callable[[], float] = time.time
) -> AsyncIterator[House]:
    server = embedded.prepare(home, host)
    process = await asyncio.create_subprocess_exec(
        *server.argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert await embedded.answers(server.access)
        keeper = Doorkeeper(home, server.access, [NodeId("hall")], now)
        async with Bus.connect(server.access.url("mesh"), "test:mesh") as bus:
            serving = asyncio.create_task(keeper.serve(bus))
            await bus.settled()
            yield House(home, server.access, bus)
            serving.cancel()
    finally:
        process.kill()
        await process.wait()
        os.close(server.claim)
