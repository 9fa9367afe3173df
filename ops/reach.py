"""From a terminal to the mesh: with the credential of a home, or by an address that is given."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bus import embedded
from bus.connection import Bus
from bus.errors import BusError
from bus.membership import NodeOnly, known_membership
from proto.credentials import Role

CONNECT_S = 5.0
"""A person waits no longer; services wait for their bus for half a minute."""


def url(args: argparse.Namespace, role: Role) -> str:
    """Where the bus is. Raises BusError, HomeError."""
    if args.nats:
        return str(args.nats)
    home = args.home.expanduser()
    access = embedded.known_access(home)
    if access:
        return access.url(role)
    if "ODYSSAI_NATS" in os.environ:
        return os.environ["ODYSSAI_NATS"]
    member = known_membership(home)
    if member:
        if member.role == role:
            return member.url(home)
        raise NodeOnly(
            f"this home is {member.described} and may not ask for more; "
            "use the machine that runs `odyssai up`, or the gateway's /admin"
        )
    raise BusError(f"{args.home} has no bus; give --nats URL or --home DIR")


@asynccontextmanager
async def connected(args: argparse.Namespace) -> AsyncIterator[Bus]:
    """As one who may order. Raises BusError, HomeError."""
    async with Bus.connect(url(args, "console"), own_name(), within_s=CONNECT_S) as bus:
        yield bus


def own_name() -> str:
    return f"ops:console-{os.getpid()}"
