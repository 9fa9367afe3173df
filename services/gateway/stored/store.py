"""Stored responses: in the mesh's state, so that every gateway has all of them."""

import asyncio
import logging
import re

from bus.connection import Bus
from bus.errors import Conflict, NotConnected
from bus.large import LargeBucket
from bus.provision import Limits
from bus.state import Bucket
from proto.dialects.responses.response import Response
from proto.dialects.responses.stored import StoredResponse, ToldEvents
from proto.errors import Code, MeshError
from proto.state import RESPONSE_EVENTS, RESPONSES

log = logging.getLogger(__name__)

EVENTS = Limits(ttl_s=3600, max_bytes=256 << 20)
"""Whoever lost the stream of a background response comes back soon or reads it whole."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Store:
    """Opened with its first use: a gateway serves whatever else it can without it.

    Every method raises MeshError while the state cannot be reached.
    """

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._bus = bus
        self._limits = limits
        self._opening = asyncio.Lock()
        self._responses: LargeBucket[StoredResponse] | None = None
        self._events: Bucket[ToldEvents] | None = None

    async def find(self, id: str) -> tuple[StoredResponse, int] | None:
        """The record and its revision; None also for what no response is called."""
        if not _ID.fullmatch(id):
            return None
        try:
            return await (await self._bucket()).get(id)
        except NotConnected as error:
            raise _unreachable(error) from error

    async def write(self, stored: StoredResponse, revision: int = 0) -> int:
        """The new revision. Raises Conflict when somebody else wrote it in between."""
        try:
            return await (await self._bucket()).swap(stored.response.id, stored, revision)
        except NotConnected as error:
            raise _unreachable(error) from error

    async def delete(self, id: str) -> None:
        try:
            await (await self._bucket()).delete(id)
        except NotConnected as error:
            raise _unreachable(error) from error

    async def events(self) -> Bucket[ToldEvents]:
        async with self._opening:
            if self._events is None:
                try:
                    self._events = await Bucket.open(
                        self._bus, RESPONSE_EVENTS, ToldEvents, EVENTS, is_packed=True
                    )
                except NotConnected as error:
                    raise _unreachable(error) from error
        return self._events

    async def _bucket(self) -> LargeBucket[StoredResponse]:
        async with self._opening:
            if self._responses is None:
                self._responses = await LargeBucket.open(
                    self._bus, RESPONSES, StoredResponse, self._limits
                )
        return self._responses


async def keep(store: Store, stored: StoredResponse) -> Response:
    """The response as it is now; it says so itself where it could not be stored."""
    if not stored.response.store:
        return stored.response
    try:
        await store.write(stored)
    except (MeshError, Conflict) as error:
        log.warning("response %s is not stored: %s", stored.response.id, error)
        return stored.response.unstored()
    return stored.response


def _unreachable(error: NotConnected) -> MeshError:
    return MeshError(
        Code.BUS_UNAVAILABLE,
        f"Stored responses cannot be reached: {error}. Try again.",
        retry_after_s=1.0,
    )


def not_found(id: str) -> MeshError:
    return MeshError(
        Code.NOT_FOUND,
        f"Response with id {id!r} not found. It was not stored, was deleted, or has expired.",
        param="response_id",
    )
