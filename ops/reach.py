"""From a terminal to the mesh: with the credential of a home, or by an address that is given."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bus import embedded
from bus.connection import Bus
from bus.errors import BusError, NotConnected
from bus.server_config import User

CONNECT_S = 5.0
"""A person waits no longer; services wait for their bus for half a minute."""


def url(args: argparse.Namespace, user: User) -> str:
    """Where the bus is. Raises BusError, EmbeddedError."""
    if args.nats:
        return str(args.nats)
    access = embedded.known_access(args.home.expanduser())
    if access:
        return access.url(user)
    if "ODYSSAI_NATS" in os.environ:
        return os.environ["ODYSSAI_NATS"]
    raise BusError(f"{args.home} has no bus; give --nats URL or --home DIR")


@asynccontextmanager
async def connected(args: argparse.Namespace) -> AsyncIterator[Bus]:
    """As one who may order. Raises BusError, EmbeddedError."""
    address = url(args, "mesh")
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(CONNECT_S):
                connecting = Bus.connect(address, f"ops:console-{os.getpid()}")
                bus = await stack.enter_async_context(connecting)
        except TimeoutError as error:
            where = address.rpartition("@")[2]
            raise NotConnected(f"no bus at {where}; is `odyssai up` running there?") from error
        yield bus
