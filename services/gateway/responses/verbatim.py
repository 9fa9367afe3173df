"""Responses that a provider makes and keeps, and the mesh passes on as they are."""

import logging
import re
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from bus.errors import Conflict
from proto.dialects.responses.event import Events
from proto.dialects.responses.item import Item
from proto.dialects.responses.response import State
from proto.dialects.responses.stored import StoredResponse
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End
from proto.ids import ModelId
from services.gateway.answering import relay
from services.gateway.answering.record import Record
from services.gateway.answering.verbatim import OwnWords
from services.gateway.answering.wire import Sink
from services.gateway.asking.dispatch import Generation
from services.gateway.responses.turn import Turn
from services.gateway.stored.store import Store

log = logging.getLogger(__name__)

_ENDING = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete)"')


class _Told(Struct, frozen=True):
    """A response in its provider's words, as much of it as has to be known."""

    id: str = ""
    status: str = ""
    store: bool | None = None
    output: Raw = Raw(b"[]")


class _Ending(Struct, frozen=True):
    response: _Told = _Told()


_told = msgspec.json.Decoder(_Told).decode
_ending = msgspec.json.Decoder(_Ending).decode
_output = msgspec.json.Decoder(tuple[Item, ...]).decode


class Words(OwnWords):
    """Events that may come word for word; where another model has to answer, its own begin."""

    def __init__(self, events: Events, is_verbatim: Callable[[], bool]) -> None:
        super().__init__(events, is_verbatim)
        self._opening = events.opening

    def opened(self) -> bytes:
        """What such a stream begins with, the first time that it is asked for."""
        opening, self._opening = self._opening, bytes
        return opening()

    def delta(self, index: int, frame: Delta) -> bytes:
        return self.opened() + super().delta(index, frame)

    def call(self, index: int, frame: CallDelta) -> bytes:
        return self.opened() + super().call(index, frame)

    def end(self, index: int, frame: End) -> bytes:
        said = super().end(index, frame)
        return said if self.is_complete else self.opened() + said


async def stream(
    generations: list[Generation], turn: Turn, store: Store, sink: Sink, record: Record
) -> None:
    """Of one answer; complete if it was the provider's own. Raises MeshError."""
    (generation,) = generations
    words = Words(turn.events, lambda: generation.question.verbatim is not None)

    async def keep(told: _Told) -> None:
        await keep_trace(store, turn, generation.question.model, told)

    await relay.stream(generations, words, Overheard(sink, keep), record)


class Overheard:
    """A Sink. ``ended`` hears of a provider's response before the client hears that it is whole."""

    def __init__(self, sink: Sink, ended: Callable[[_Told], Awaitable[None]]) -> None:
        self._sink = sink
        self._ended = ended

    async def write(self, body: bytes, more: bool = True) -> None:
        for told in _endings(body):
            await self._ended(told)
        await self._sink.write(body, more)


def _endings(body: bytes) -> Iterator[_Told]:
    if _ENDING.search(body) is None:
        return
    for line in body.splitlines():
        if line.startswith(b"data:") and _ENDING.search(line):
            try:
                yield _ending(line[5:]).response
            except msgspec.DecodeError:
                log.info("a response ended in words that nobody here reads")


async def keep_whole(store: Store, turn: Turn, model: ModelId, body: bytes) -> None:
    """As ``keep_trace``, of an answer in one piece."""
    try:
        told = _told(body)
    except msgspec.DecodeError:
        log.info("a response came in words that nobody here reads")
    else:
        await keep_trace(store, turn, model, told)


async def keep_trace(store: Store, turn: Turn, model: ModelId, told: _Told) -> None:
    """Where a response is to be found, and what other models need to go on from it."""
    if not told.id or told.store is False:
        return
    output = _readable(told.output) if turn.is_read else None
    status: State = "incomplete" if told.status == "incomplete" else "completed"
    stored = StoredResponse(
        response=replace(turn.events.response, id=told.id, status=status, output=output or ()),
        items=turn.items,
        owner=turn.owner,
        kept_by=model,
        is_partial=output is None,
    )
    try:
        await store.write(stored)
    except (MeshError, Conflict) as error:
        log.warning("where response %s is kept is not stored: %s", told.id, error)


def _readable(output: Raw) -> tuple[Item, ...] | None:
    try:
        return _output(output)
    except msgspec.DecodeError:
        return None
