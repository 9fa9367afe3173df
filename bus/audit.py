"""The audit log: a stream that may be added to and read, and out of which nothing can be taken.

Its subject is telemetry, so that whoever listens hears an act at once, and the stream keeps it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bus.connection import Bus, uncaught
from bus.errors import BusError, NotConnected
from proto.audit import AUDIT, KEPT_S, MOST_BYTES, Actor, AuditEvent
from proto.errors import Code, MeshError
from proto.subjects import AUDIT_TELEMETRY

log = logging.getLogger(__name__)

BATCH = 256
LOOK_S = 1.0
"""How long a reader waits for the next at a time."""
READER_S = 10.0
"""So long the server keeps the place of a reader that went away."""


class AuditLog:
    """What one process writes into it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._is_open = False

    @asynccontextmanager
    async def act(
        self, act: str, by: Actor, target: str = "", detail: str = ""
    ) -> AsyncIterator[None]:
        """Written down when the block is over, with what came of it. Lets every error through."""
        outcome = "ok"
        try:
            yield
        except MeshError as error:
            outcome = error.code.word
            raise
        except BusError:
            outcome = Code.BUS_UNAVAILABLE.word
            raise
        except BaseException:
            outcome = Code.INTERNAL.word
            raise
        finally:
            await self.write(act, by, target, detail, outcome)

    async def write(
        self, act: str, by: Actor, target: str = "", detail: str = "",
        outcome: str = "ok", count: int = 1,
    ) -> None:  # fmt: skip
        """What cannot be kept is in the log of this process instead: the act is done already."""
        event = AuditEvent(
            act=act,
            by=by.name,
            address=by.address,
            request=by.request,
            target=target,
            outcome=outcome,
            detail=detail,
            count=count,
            said_by=self._bus.identity,
            at_s=time.time(),
        )
        body = AUDIT_TELEMETRY.encode(event)
        try:
            if not self._is_open:
                await open_log(self._bus)
                self._is_open = True
            address = AUDIT_TELEMETRY.at(self._bus.identity)
            await uncaught(self._bus.jetstream.publish(address, body, stream=AUDIT))
        except (NatsError, APIError, OSError) as error:
            log.error("not in the audit log (%r): %s", error, body.decode())  # noqa: TRY400


async def open_log(bus: Bus) -> None:
    """Make the stream where the mesh has none, if that is ours to do; on three servers where the
    bus has them.
    """
    if not bus.makes_buckets:
        return
    try:
        await uncaught(bus.jetstream.stream_info(AUDIT))
    except NotFoundError:
        pass
    else:
        return
    config = StreamConfig(
        name=AUDIT,
        subjects=[AUDIT_TELEMETRY.pattern],
        max_age=KEPT_S,
        max_bytes=MOST_BYTES,
        discard=DiscardPolicy.OLD,
        deny_delete=True,
        deny_purge=True,
        num_replicas=3,
    )
    try:
        await uncaught(bus.jetstream.add_stream(config))
    except APIError:
        await uncaught(bus.jetstream.add_stream(config.evolve(num_replicas=1)))


async def acts(bus: Bus, since_s: float, *, follows: bool) -> AsyncGenerator[AuditEvent]:
    """What was written down since ``since_s`` (unix time), the oldest first, then what is added if
    it ``follows``. Raises NotConnected.
    """
    start = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_TIME,
        opt_start_time=datetime.fromtimestamp(since_s, UTC),
        inactive_threshold=READER_S,
    )
    while True:
        try:
            await open_log(bus)
            async for sequence, event in _read(bus, start, follows=follows):
                start = start.evolve(
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_time=None,
                    opt_start_seq=sequence + 1,
                )
                if event is not None:
                    yield event
        except (NatsError, APIError, OSError) as error:
            if not follows:
                raise NotConnected(f"the audit log cannot be read: {error}") from error
            await asyncio.sleep(LOOK_S)
            continue
        return


async def _read(
    bus: Bus, start: ConsumerConfig, *, follows: bool
) -> AsyncGenerator[tuple[int, AuditEvent | None]]:
    """Each with its place in the stream; None: it cannot be read."""
    reader = await uncaught(
        bus.jetstream.pull_subscribe(
            AUDIT_TELEMETRY.pattern, stream=AUDIT, config=start.evolve(name=None)
        )
    )
    try:
        left = (await uncaught(reader.consumer_info())).num_pending or 0
        while left > 0 or follows:
            try:
                told = await uncaught(reader.fetch(BATCH, timeout=LOOK_S))
            except (TimeoutError, NatsError):
                if bus.is_connected and not follows:
                    return
                await uncaught(reader.consumer_info())  # Raises when its place is lost.
                continue
            left -= len(told)
            for each in told:
                yield each.metadata.sequence.stream, _opened(each.data)
    finally:
        await reader.unsubscribe()


def _opened(body: bytes) -> AuditEvent | None:
    try:
        return AUDIT_TELEMETRY.decode(body)
    except msgspec.DecodeError as error:
        log.warning("audit: an unreadable entry: %s", error)
        return None
