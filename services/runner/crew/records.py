"""What an agent writes down of its engine processes, so that its next life finds them."""

import asyncio
import logging

from msgspec.structs import replace

from bus.errors import BusError, Conflict
from bus.state import Bucket
from proto.ids import EngineId, ModelId
from proto.presence import EngineBeat
from proto.state import EngineRecord

log = logging.getLogger(__name__)

AGAIN_S = 0.2


class Records:
    """The ``engines`` state, as far as it is of this node's engines."""

    def __init__(self, bucket: Bucket[EngineRecord]) -> None:
        self._bucket = bucket

    async def all(self) -> list[EngineRecord]:
        """Of the whole mesh, once the bus is there."""
        while True:
            try:
                return list((await self._bucket.all()).values())
            except BusError as away:
                await _again("no records of engines yet", away)

    async def find(self, engine: EngineId) -> EngineRecord | None:
        """Not without knowing: an engine that runs already must not be started twice."""
        while True:
            try:
                found = await self._bucket.get(engine)
            except BusError as away:
                await _again(f"no record of {engine} yet", away)
            else:
                return found[0] if found else None

    async def write(self, record: EngineRecord) -> None:
        """Not before it is done: of an engine without a record a later agent knows nothing.

        What an earlier life of the engine served is kept: it will again.
        """
        while True:
            try:
                before = await self._bucket.get(record.engine)
                kept = before[0].models if before else ()
                await self._bucket.put(record.engine, replace(record, models=kept))
            except BusError as away:
                await _again(f"no record of {record.engine} yet", away)
            else:
                return

    async def note_models(self, beat: EngineBeat) -> None:
        """What the engine serves, now that it does."""
        names = tuple(ModelId(n) for card in beat.models for n in (card.id, *card.aliases))
        try:
            found = await self._bucket.get(beat.engine)
            if found is not None and found[0].pid == beat.pid:
                await self._bucket.swap(beat.engine, replace(found[0], models=names), found[1])
        except Conflict:
            log.info("the record of %s was renewed meanwhile", beat.engine)
        except BusError as error:
            log.warning("the record of %s lacks its models: %s", beat.engine, error)

    async def forget(self, engine: EngineId) -> None:
        try:
            await self._bucket.delete(engine)
        except BusError as error:
            log.warning("the record of %s stays: %s", engine, error)


async def _again(what: str, away: BusError) -> None:
    log.warning("%s: %s", what, away)
    await asyncio.sleep(AGAIN_S)
