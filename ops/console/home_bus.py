"""The bus of a home that does not run: started for one command, and ended after it.

The first key has to be there before a gateway may be reached from elsewhere.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bus import embedded
from bus.connection import Bus
from bus.errors import NotConnected
from bus.membership import known_membership
from ops import buckets, reach

END_S = 5.0
ANSWER_S = 0.5


@asynccontextmanager
async def with_bus(args: argparse.Namespace) -> AsyncIterator[Bus]:
    """As ``reach.connected``, where there is a bus; else with one that lasts as long as the block.

    Raises BusError, HomeError.
    """
    home = args.home.expanduser().absolute()
    is_elsewhere = args.nats or "ODYSSAI_NATS" in os.environ or known_membership(home)
    access = embedded.known_access(home)
    if (is_elsewhere and not access) or args.nats:
        way: AbstractAsyncContextManager[Bus] = reach.connected(args)
    elif access and await embedded.answers(access, ANSWER_S):
        way = reach.connected(args)
    else:
        way = _started(args, home, access.host if access else embedded.LOOPBACK)
    async with way as bus:
        yield bus


@asynccontextmanager
async def _started(args: argparse.Namespace, home: Path, host: str) -> AsyncIterator[Bus]:
    server = embedded.prepare(home, host)
    process = await asyncio.create_subprocess_exec(
        *server.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(server.claim,),
    )
    try:
        if not await embedded.answers(server.access):
            raise NotConnected(f"the bus server of {home} does not start")
        async with Bus.connect(server.access.url("doorkeeper"), reach.own_name()) as keeper:
            await buckets.make(keeper)
        async with reach.connected(args) as bus:
            yield bus
    finally:
        os.close(server.claim)
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
