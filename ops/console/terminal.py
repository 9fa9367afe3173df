"""How every command of the console runs: one question to the bus, errors as one sentence."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from ops import reach
from proto.errors import MeshError

Act = Callable[[argparse.Namespace, Bus], Awaitable[int]]


def run(act: Act, args: argparse.Namespace) -> int:
    """The exit status: what ``act`` returns, 1 where something went wrong."""

    async def ask() -> int:
        async with reach.connected(args) as bus:
            return await act(args, bus)

    return _explained(ask())


def run_on(url: str, act: Callable[[Bus], Awaitable[int]]) -> int:
    """The same, by another credential than the console's."""

    async def ask() -> int:
        async with Bus.connect(url, reach.own_name(), reach.CONNECT_S) as bus:
            return await act(bus)

    return _explained(ask())


def _explained(asking: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(asking)
    except (MeshError, BusError, HomeError) as error:
        complain(str(error))
        return 1


def complain(sentence: str) -> None:
    print(f"odyssai: {sentence}", file=sys.stderr)
