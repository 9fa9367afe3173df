"""Responses that are generated whether anybody waits or not.

The gateway that took one generates it, says in the record how far it is, and stops when it is
asked to over the bus. A record whose gateway died is failed by whoever reads it next.
"""

import asyncio
import logging
from typing import Protocol

from msgspec.structs import replace

from bus.connection import Bus
from bus.errors import BusError, Conflict
from proto.dialects.responses.stored import CancelResponse, ResponseCancelled, StoredResponse
from proto.errors import Code, MeshError
from proto.ids import GatewayId, KeyId
from proto.subjects import CANCEL_RESPONSE
from services.gateway.stored.peers import Peers
from services.gateway.stored.store import Store

log = logging.getLogger(__name__)

MOST = 256
"""Responses that one gateway generates in the background; each may wait for an engine."""
CANCEL_S = 10.0
"""How long another gateway may take to stop one."""


class Work(Protocol):
    """One response being generated."""

    @property
    def key(self) -> KeyId:
        """Who asked for it."""

    async def run(self) -> None:
        """Returns when its record is written, and is never cancelled itself."""

    def stop(self) -> None: ...


class Background:
    """What this gateway generates in the background, and the fate of what others do."""

    def __init__(self, bus: Bus, gateway: GatewayId, store: Store, peers: Peers) -> None:
        self.store = store
        self.is_stopping = False
        """What is cancelled now, nobody asked to cancel."""
        self._bus = bus
        self._gateway = gateway
        self._peers = peers
        self._running: dict[str, tuple[Work, asyncio.Task[None]] | None] = {}

    async def follow(self) -> None:
        await self._peers.follow(self._bus)
        await self._bus.answer(CANCEL_RESPONSE, self._stop, self._gateway)

    def admit(self, id: str) -> None:
        """From now on it counts as being generated. Raises MeshError when there are too many."""
        if len(self._running) >= MOST:
            raise MeshError(
                Code.QUEUE_FULL,
                f"This gateway generates {MOST} responses in the background; try again later.",
                retry_after_s=5.0,
            )
        self._running[id] = None

    def dismiss(self, id: str) -> None:
        """Nothing comes of one that was admitted."""
        self._running.pop(id, None)

    def start(self, id: str, work: Work) -> None:
        task = asyncio.ensure_future(work.run())
        self._running[id] = (work, task)
        task.add_done_callback(lambda _: self.dismiss(id))

    def stop_for(self, key: KeyId) -> None:
        """End what is generated for a key."""
        for running in self._running.values():
            if running is not None and running[0].key == key:
                running[0].stop()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [running[1] for running in self._running.values() if running is not None]

    async def close(self) -> None:
        """End all; their records say why."""
        self.is_stopping = True
        tasks = self.tasks()
        for running in self._running.values():
            if running is not None:
                running[0].stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, id: str) -> StoredResponse | None:
        """A stored response; one that nobody generates any more has failed. Raises MeshError."""
        found = await self.store.find(id)
        while found is not None and self._is_abandoned(found[0]):
            stored, revision = found
            lost = MeshError(Code.ENGINE_LOST, "The gateway that generated it was lost; ask again.")
            failed = replace(stored, response=stored.response.failed(lost))
            try:
                await self.store.write(failed, revision)
            except Conflict:
                found = await self.store.find(id)
            else:
                return failed
        return None if found is None else found[0]

    def _is_abandoned(self, stored: StoredResponse) -> bool:
        if stored.response.is_over:
            return False
        if stored.gateway == self._gateway:
            return stored.response.id not in self._running
        return self._peers.is_dead(stored.gateway)

    async def cancel(self, stored: StoredResponse) -> StoredResponse:
        """The response once it is over. Raises MeshError."""
        id = stored.response.id
        try:
            await self._bus.ask(
                CANCEL_RESPONSE, CancelResponse(response=id), stored.gateway, timeout_s=CANCEL_S
            )
        except BusError as error:
            log.info("cancelling %s at gateway %s: %s", id, stored.gateway, error)
        found = await self.find(id)
        if found is None:
            raise MeshError(Code.NOT_FOUND, f"Response with id {id!r} was deleted meanwhile.")
        if not found.response.is_over:
            raise MeshError(
                Code.BUS_UNAVAILABLE,
                "The gateway that generates it does not answer. Try again.",
                retry_after_s=2.0,
            )
        return found

    async def _stop(self, question: CancelResponse) -> ResponseCancelled:
        running = self._running.get(question.response)
        if running is not None:
            work, task = running
            work.stop()
            await asyncio.wait([task])
        return ResponseCancelled()
