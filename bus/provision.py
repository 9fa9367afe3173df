"""The stream behind a bucket: made where there is none, with its limits and its copies."""

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial

from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, StreamConfig, StreamInfo
from nats.js.errors import APIError, BucketNotFoundError, ServiceUnavailableError
from nats.js.kv import KeyValue

from bus.connection import Bus, uncaught
from bus.errors import NotConnected
from bus.patience import patiently
from proto.usage import USED

log = logging.getLogger(__name__)

MADE_S = 20.0
"""How long a bucket is waited for that somebody else makes, as a home does when it starts."""
MADE_LOOK_S = 0.05
COPIES = 3
"""On so many servers, where the bus has them: one may be lost."""


@dataclass(frozen=True)
class Limits:
    """How much a bucket keeps, and for how long. What is oldest goes first."""

    ttl_s: float
    """A record is gone so long after it was written last."""
    max_bytes: int


async def existing(bus: Bus, name: str) -> KeyValue | None:
    """None where the mesh has no such bucket. Raises NotConnected."""
    return await patiently(bus, lambda: _looked_up(bus, name))


async def _looked_up(bus: Bus, name: str) -> KeyValue | None:
    try:
        return await bus.jetstream.key_value(name)
    except BucketNotFoundError:
        return None


async def opened(bus: Bus, name: str, limits: Limits | None) -> KeyValue:
    """Made, and given these limits, by who may do that; others wait. Raises NotConnected."""
    try:
        kv = await existing(bus, name)
        if kv is None:
            kv = await (_created if bus.makes_buckets else _awaited)(bus, name)
        if limits is not None and bus.makes_buckets:
            await _limit(bus, name, limits)
    except NotConnected as error:
        raise _unusable(name, error) from error
    return kv


async def spread(bus: Bus) -> None:
    """Keep every bucket, and the reports of usage, on ``COPIES`` servers where there are as many
    by now: one that was made while a server was away has fewer. Raises NotConnected.
    """
    if not bus.makes_buckets:
        return
    try:
        for stream in await uncaught(bus.jetstream.streams_info()):
            if _is_thin(stream):
                await _widen(bus, stream.config)
    except (NatsError, OSError) as error:
        raise _unusable("of the mesh", error) from error


def _is_thin(stream: StreamInfo) -> bool:
    name = str(stream.config.name)
    is_state = name.startswith("KV_") or name == USED
    return is_state and stream.cluster is not None and (stream.config.num_replicas or 1) < COPIES


async def _widen(bus: Bus, config: StreamConfig) -> None:
    try:
        await uncaught(bus.jetstream.update_stream(config.evolve(num_replicas=COPIES)))
    except APIError as error:
        log.debug("bus: %s stays on one server: %s", config.name, error)
    else:
        log.info("bus: %s is kept on %d servers now", config.name, COPIES)


async def _awaited(bus: Bus, name: str) -> KeyValue:
    """Once somebody has made it. Raises NotConnected."""
    end = time.monotonic() + MADE_S
    while time.monotonic() < end:
        await asyncio.sleep(MADE_LOOK_S)
        if (kv := await existing(bus, name)) is not None:
            return kv
    raise NotConnected("it is not there; does `odyssai up` run where the bus is?")


async def _created(bus: Bus, name: str) -> KeyValue:
    for copies in (COPIES, 1):
        made = await patiently(bus, partial(_make, bus, name, copies))
        if made is not None:
            return made
    # Somebody else made it meanwhile, and gave it limits.
    return await patiently(bus, lambda: bus.jetstream.key_value(name))


async def _make(bus: Bus, name: str, copies: int) -> KeyValue | None:
    """None where the server will not have it so."""
    try:
        return await bus.jetstream.create_key_value(bucket=name, history=1, replicas=copies)
    except ServiceUnavailableError:
        raise
    except APIError:
        return None


async def _limit(bus: Bus, name: str, limits: Limits) -> None:
    told = await patiently(bus, lambda: bus.jetstream.stream_info(f"KV_{name}"))
    config = told.config
    wanted = config.evolve(
        max_age=limits.ttl_s,
        max_bytes=limits.max_bytes,
        discard=DiscardPolicy.OLD,
        duplicate_window=min(limits.ttl_s, config.duplicate_window or limits.ttl_s),
    )
    if wanted != config:
        await patiently(bus, lambda: bus.jetstream.update_stream(wanted))


def _unusable(name: str, error: Exception) -> NotConnected:
    return NotConnected(f"state {name!r}: {error or type(error).__name__}")
