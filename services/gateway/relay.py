"""Frames into bytes: to a client that reads along, or gathered for one that waits."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from proto.dialects.asked import Answered
from proto.errors import MeshError
from proto.frames import AnyFrame, Delta, End, PositionLogprobs, Progress
from services.gateway.dispatch import Generation
from services.gateway.exchange import Exchange
from services.gateway.record import Record
from services.gateway.wire import Events

T = TypeVar("T")

WAITING = b": waiting\n\n"


async def stream(
    generations: list[Generation], events: Events, exchange: Exchange, record: Record
) -> None:
    """Send all choices as they come. Raises MeshError when one fails."""
    if len(generations) == 1:
        await _relay(0, generations[0], events, exchange, record)
    else:
        await side_by_side(
            _relay(index, generation, events, exchange, record)
            for index, generation in enumerate(generations)
        )


async def _relay(
    index: int, generation: Generation, events: Events, exchange: Exchange, record: Record
) -> None:
    """The hot path: everything that is there at a wake-up goes out in one write."""
    is_over = False
    while not is_over:
        frames = await generation.take()
        record.seen(frames)
        out = [_event(index, frame, events) for frame in frames] or [WAITING]
        body = b"".join(out)
        if not generation.is_bound and any(isinstance(frame, Delta) for frame in frames):
            generation.is_bound = True
            record.token()
        if frames and isinstance(frames[-1], End):
            record.end(index, frames[-1])
            is_over = True
        if body:
            await exchange.write(body, more=not events.is_complete)


def _event(index: int, frame: AnyFrame, events: Events) -> bytes:
    if isinstance(frame, Delta):
        return events.delta(index, frame)
    if isinstance(frame, Progress):
        return events.progress(index, frame)
    assert isinstance(frame, End), "a generation raises what failed"
    return events.end(index, frame)


async def gather(generations: list[Generation], record: Record) -> list[Answered]:
    """All choices, complete. Raises MeshError when one fails."""
    if len(generations) == 1:
        return [await _gather(0, generations[0], record)]
    return await side_by_side(
        _gather(index, generation, record) for index, generation in enumerate(generations)
    )


async def _gather(index: int, generation: Generation, record: Record) -> Answered:
    text: list[str] = []
    logprobs: list[PositionLogprobs] = []
    epoch = 0
    while True:
        frames = await generation.take()
        record.seen(frames)
        for frame in frames:
            if frame.epoch != epoch:
                # Another engine took over and begins anew.
                epoch = frame.epoch
                text.clear()
                logprobs.clear()
            if isinstance(frame, Delta):
                record.token()
                text.append(frame.text)
                logprobs.extend(frame.logprobs)
            elif isinstance(frame, End):
                record.end(index, frame)
                return Answered(text="".join(text), logprobs=tuple(logprobs), end=frame)


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results. The first to fail ends the others, and is raised itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in works]
    except BaseExceptionGroup as group:
        refused = group.subgroup(MeshError) or group
        raise refused.exceptions[0] from None
    return [task.result() for task in running]
