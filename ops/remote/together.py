"""The same done to many machines; what fails at one does not concern the others."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bus.errors import BusError
from bus.home import HomeError
from ops.remote.errors import RemoteError
from ops.remote.progress import Show, Standing
from proto.errors import MeshError

AT_ONCE = 8
"""Uploads share one line, and installations one index."""

Work = Callable[[Standing, Callable[[], None]], Awaitable[str]]
"""Says in the end what was done; calls when the standing changed. Raises RemoteError, MeshError,
BusError, HomeError.
"""
T = TypeVar("T")
FAILURES = (RemoteError, MeshError, BusError, HomeError)


async def all_at_once(work: Sequence[tuple[Standing, Work]], show: Show) -> int:
    """The exit status: 0 when all are done."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(standing: Standing, act: Work) -> None:
        async with free:
            await done(standing, act, show)

    async with asyncio.TaskGroup() as tasks:
        for standing, act in work:
            tasks.create_task(one(standing, act))
    return status(work)


async def one_by_one(work: Sequence[tuple[Standing, Work]], show: Show) -> int:
    """Until one fails: what harms one node is not done to the next."""
    for place, (standing, act) in enumerate(work):
        if not await done(standing, act, show):
            for left, _ in work[place + 1 :]:
                end(left, "failed", "left as it is", show)
            break
    return status(work)


def status(work: Sequence[tuple[Standing, Work]]) -> int:
    return int(any(standing.state != "done" for standing, _ in work))


async def done(standing: Standing, act: Work, show: Show) -> bool:
    standing.began_s = time.monotonic()
    try:
        said = await act(standing, lambda: show(standing))
    except FAILURES as error:
        end(standing, "failed", str(error), show)
        return False
    end(standing, "done", said, show)
    return True


def end(standing: Standing, state: str, step: str, show: Show) -> None:
    standing.state, standing.step, standing.ended_s = state, step, time.monotonic()
    show(standing)
