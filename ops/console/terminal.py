"""How every command of the console runs: one question to the bus, errors as one sentence."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from ops import reach
from proto.errors import MeshError

Act = Callable[[argparse.Namespace, Bus], Awaitable[int]]


def run(act: Act, args: argparse.Namespace) -> int:
    """The exit status: what ``act`` returns, 1 where something went wrong."""
    try:
        return asyncio.run(_run(act, args))
    except (MeshError, BusError, HomeError) as error:
        complain(str(error))
        return 1


async def _run(act: Act, args: argparse.Namespace) -> int:
    async with reach.connected(args) as bus:
        return await act(args, bus)


def complain(sentence: str) -> None:
    print(f"odyssai: {sentence}", file=sys.stderr)
