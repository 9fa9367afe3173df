"""One response generated in the background, from the queue to its last record."""

import asyncio
import logging
import time

from msgspec import Struct
from msgspec.structs import replace

from bus.errors import Conflict
from proto.dialects.responses.event import replayed
from proto.dialects.responses.stored import StoredResponse
from proto.errors import Code, MeshError
from proto.ids import KeyId, RequestId
from services.gateway.answering import relay
from services.gateway.answering.record import Record
from services.gateway.asking.dispatch import Generation
from services.gateway.gateway import Gateway
from services.gateway.generate import generating, recorded, served_by
from services.gateway.responses.turn import ENDPOINT, Turn
from services.gateway.stored.told import Scribe

log = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""How long it waits where every engine is full."""
WRITES = 5
"""The record of what it came to is written as soon as the state is there again."""
AWAY_S = 1.0


class Origin(Struct, frozen=True):
    """Where the request came from, its connection long gone."""

    request: RequestId
    client_request: str | None
    trace: str | None


class Work:
    """Knows the revision of its record: who else writes there has taken it away."""

    def __init__(
        self,
        gateway: Gateway,
        origin: Origin,
        turn: Turn,
        stored: StoredResponse,
        revision: int,
        scribe: Scribe | None,
    ) -> None:
        self._gateway = gateway
        self._origin = origin
        self._turn = turn
        self._events = turn.events
        self._stored = stored
        self._revision = revision
        self._scribe = scribe
        self._is_begun = False
        self._generating: asyncio.Task[None] | None = None

    @property
    def key(self) -> KeyId:
        return self._turn.asked.key

    def stop(self) -> None:
        if self._generating is not None:
            self._generating.cancel()

    async def run(self) -> None:
        """Whatever happens, it ends, and its record says how."""
        await self._tell(self._events.opening())
        self._generating = asyncio.create_task(self._recorded())
        error = await self._outcome(self._generating)
        if error is not None and error.code is Code.CANCELLED:
            self._events.cancel()
        elif error is not None:
            self._events.fail(error)
        await self._save_the_end()
        await self._tell(self._events.closing())
        if self._scribe is not None:
            await self._scribe.close()

    async def _outcome(self, generating: asyncio.Task[None]) -> MeshError | None:
        try:
            await generating
        except MeshError as error:
            return error
        except asyncio.CancelledError:
            return self._why_stopped()
        except Exception:
            log.exception("%s: generating in the background failed", self._origin.request)
            why = f"The gateway failed; its log has more under {self._origin.request}."
            return MeshError(Code.INTERNAL, why)
        return None

    async def _recorded(self) -> None:
        origin = self._origin
        async with recorded(ENDPOINT, self._gateway, origin.request, origin.trace) as record:
            record.client_request = origin.client_request
            record.understood(self._turn.asked)
            record.key = self._turn.asked.key
            try:
                await self._generate(record)
            except asyncio.CancelledError:
                raise self._why_stopped() from None

    def _why_stopped(self) -> MeshError:
        if self._gateway.background.is_stopping:
            why = "The gateway that generated it was stopped; ask again."
            return MeshError(Code.ENGINE_LOST, why)
        return MeshError(Code.CANCELLED, "It was cancelled.")

    async def _generate(self, record: Record) -> None:
        """Engines that are full are asked again: nobody is there to do it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._attempt(record)
            except MeshError as error:
                is_late = time.monotonic() > end
                if error.code is not Code.QUEUE_FULL or self._is_begun or is_late:
                    raise
                pause_s = error.retry_after_s or 1.0
            await asyncio.sleep(pause_s)

    async def _attempt(self, record: Record) -> None:
        asked = self._turn.asked
        async with generating(
            self._gateway, self._origin.request, asked, None, "input"
        ) as generations:
            served_by(self._gateway, record, generations)
            self._is_begun = True
            await self._tell(self._events.begun())
            await self._save()
            await self._answer(generations, record)
            served_by(self._gateway, record, generations)

    async def _answer(self, generations: list[Generation], record: Record) -> None:
        if self._scribe is not None:
            await relay.stream(generations, self._events, self._scribe, record)
            return
        (answer,) = await relay.gather(generations, record)
        for _ in replayed(self._events, answer):
            pass

    async def _tell(self, events: bytes) -> None:
        if self._scribe is not None:
            await self._scribe.write(events)

    async def _save(self) -> None:
        """Raises MeshError when the record was taken away, or cannot be written."""
        stored = replace(self._stored, response=self._events.response)
        try:
            self._revision = await self._gateway.background.store.write(stored, self._revision)
        except Conflict:
            raise MeshError(Code.CANCELLED, "Its record was taken away.") from None

    async def _save_the_end(self) -> None:
        for _ in range(WRITES):
            try:
                await self._save()
            except MeshError as error:
                log.warning("response %s is not stored: %s", self._events.response.id, error)
                if error.code is not Code.CANCELLED:
                    await asyncio.sleep(AWAY_S)
                    continue
            return
