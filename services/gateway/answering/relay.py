"""Frames into bytes: to a client that reads along, or gathered for one that waits."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from proto.dialects.asked import Answered
from proto.errors import MeshError
from proto.frames import AnyFrame, CallDelta, Channel, Chunk, Delta, End, PositionLogprobs, Progress
from proto.prompt import ToolCall
from services.gateway.answering.record import Record
from services.gateway.answering.thoughts import Thoughts
from services.gateway.answering.wire import Events, Sink
from services.gateway.asking.dispatch import Generation

T = TypeVar("T")

SAID = Delta | CallDelta | Chunk


async def stream(generations: list[Generation], events: Events, sink: Sink, record: Record) -> None:
    """Send all choices as they come. Raises MeshError when one fails."""
    if len(generations) == 1:
        await _relay(0, generations[0], events, sink, record)
    else:
        await side_by_side(
            _relay(index, generation, events, sink, record)
            for index, generation in enumerate(generations)
        )


async def _relay(
    index: int, generation: Generation, events: Events, sink: Sink, record: Record
) -> None:
    """The hot path: everything that is there at a wake-up goes out in one write."""
    is_over = False
    while not is_over:
        frames = await generation.take()
        record.seen(index, frames)
        out = [_event(index, frame, events) for frame in frames] or [events.waiting()]
        body = b"".join(out)
        if not generation.is_bound and any(isinstance(f, SAID) for f in frames):
            generation.is_bound = True
            record.token()
        if frames and isinstance(frames[-1], End):
            record.end(index, frames[-1], generation.resumed)
            is_over = True
        if body or events.is_complete:
            await sink.write(body, more=not events.is_complete)


def _event(index: int, frame: AnyFrame, events: Events) -> bytes:
    if isinstance(frame, Delta):
        return events.delta(index, frame)
    if isinstance(frame, CallDelta):
        return events.call(index, frame)
    if isinstance(frame, Chunk):
        return frame.data
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
    draft = _Draft()
    while True:
        beginning = generation.beginnings
        frames = await generation.take()
        if generation.beginnings != beginning:
            draft = _Draft()
        record.seen(index, frames)
        for frame in frames:
            if isinstance(frame, SAID):
                record.token()
                draft.add(frame)
            elif isinstance(frame, End):
                record.end(index, frame, generation.resumed)
                return draft.answered(frame)


class _Draft:
    """An answer while it arrives."""

    def __init__(self) -> None:
        self._said: dict[Channel, list[str]] = {"content": [], "reasoning": []}
        self._thoughts = Thoughts()
        self._logprobs: list[PositionLogprobs] = []
        self._calls: list[tuple[str, str, list[str]]] = []
        self._words: list[bytes] = []

    def add(self, frame: Delta | CallDelta | Chunk) -> None:
        if isinstance(frame, Chunk):
            self._words.append(frame.data)
            return
        if isinstance(frame, Delta):
            self._said[frame.channel].append(frame.text)
            if frame.channel == "content":
                self._logprobs.extend(frame.logprobs)
            else:
                self._thoughts.add(frame)
            return
        if frame.call == len(self._calls):
            self._calls.append((frame.id, frame.name, []))
        self._calls[frame.call][2].append(frame.arguments)

    def answered(self, end: End) -> Answered:
        return Answered(
            text="".join(self._said["content"]),
            reasoning="".join(self._said["reasoning"]),
            calls=tuple(
                ToolCall(id=id, name=name, arguments="".join(pieces))
                for id, name, pieces in self._calls
            ),
            logprobs=tuple(self._logprobs),
            thoughts=self._thoughts.made(),
            words=b"".join(self._words),
            end=end,
        )


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results. The first to fail ends the others, and is raised itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in works]
    except BaseExceptionGroup as group:
        refused = group.subgroup(MeshError) or group
        raise refused.exceptions[0] from None
    return [task.result() for task in running]
