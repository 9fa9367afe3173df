"""How every command of the console runs: one question to the bus, errors as one sentence."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from ops import reach
from proto.errors import MeshError

Act = Callable[[argparse.Namespace, Bus], Awaitable[int]]
Reached = Callable[[argparse.Namespace], AbstractAsyncContextManager[Bus]]
"""How the bus is come by."""


def run(act: Act, args: argparse.Namespace, reached: Reached = reach.connected) -> int:
    """The exit status: what ``act`` returns, 1 where something went wrong."""
    try:
        return asyncio.run(_run(act, args, reached))
    except (MeshError, BusError, HomeError) as error:
        complain(str(error))
        return 1


async def _run(act: Act, args: argparse.Namespace, reached: Reached) -> int:
    async with reached(args) as bus:
        return await act(args, bus)


def complain(sentence: str) -> None:
    print(f"odyssai: {sentence}", file=sys.stderr)
