"""Shared state that outlives a process: typed JetStream KV with watch and compare-and-set."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
)
from nats.js.kv import KeyValue

from bus.connection import Bus, uncaught
from bus.errors import Conflict, NotConnected

log = logging.getLogger(__name__)

M = TypeVar("M")

_WRONG_REVISION = (10071, 10164)
"""The server's codes for a record that is not at the revision that was named."""
WATCHER_S = 10.0
"""So long the server keeps the consumer of a watcher that stopped; nats-py says five minutes."""
MADE_S = 20.0
"""How long a bucket is waited for that somebody else makes, as a home does when it starts."""
MADE_LOOK_S = 0.05
REREAD_S = 15.0
"""Watchers of nats-py end in silence when the server restarts: all is read now and then."""


@dataclass(frozen=True)
class Limits:
    """How much a bucket keeps, and for how long. What is oldest goes first."""

    ttl_s: float
    """A record is gone so long after it was written last."""
    max_bytes: int


class Bucket(Generic[M]):
    """Records of one type by key. Keys are ids: no stars or spaces; a dot parts levels.

    Every method raises NotConnected while the bus is away.
    """

    def __init__(self, bus: Bus, kv: KeyValue, type_: type[M], is_packed: bool = False) -> None:
        codec = msgspec.msgpack if is_packed else msgspec.json
        self._bus = bus
        self._kv = kv
        self._encode = codec.Encoder().encode
        self._decode: Callable[[bytes], M] = codec.Decoder(type_).decode

    @classmethod
    async def open(
        cls,
        bus: Bus,
        name: str,
        type_: type[M],
        limits: Limits | None = None,
        *,
        is_packed: bool = False,
    ) -> "Bucket[M]":
        """The bucket of that name, made, and given these limits, by who may do that; others wait.

        Packed records hold bytes, and nobody reads them by eye.
        """
        try:
            try:
                kv = await uncaught(bus.jetstream.key_value(name))
            except BucketNotFoundError:
                kv = await (cls._create if bus.makes_buckets else cls._made)(bus, name)
            if limits is not None and bus.makes_buckets:
                await cls._limit(bus, name, limits)
        except (NatsError, OSError) as error:
            raise NotConnected(f"state {name!r}: {error or type(error).__name__}") from error
        return cls(bus, kv, type_, is_packed)

    @staticmethod
    async def _limit(bus: Bus, name: str, limits: Limits) -> None:
        config = (await uncaught(bus.jetstream.stream_info(f"KV_{name}"))).config
        wanted = config.evolve(
            max_age=limits.ttl_s,
            max_bytes=limits.max_bytes,
            discard=DiscardPolicy.OLD,
            duplicate_window=min(limits.ttl_s, config.duplicate_window or limits.ttl_s),
        )
        if wanted != config:
            await uncaught(bus.jetstream.update_stream(wanted))

    @staticmethod
    async def _made(bus: Bus, name: str) -> KeyValue:
        """Once it is there. Raises NotConnected."""
        end = asyncio.get_running_loop().time() + MADE_S
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(MADE_LOOK_S)
            with contextlib.suppress(BucketNotFoundError):
                return await uncaught(bus.jetstream.key_value(name))
        raise NotConnected(f"state {name!r} is not there; does `odyssai up` run where the bus is?")

    @staticmethod
    async def _create(bus: Bus, name: str) -> KeyValue:
        """On three servers where the bus has them, so that one may be lost."""
        try:
            return await uncaught(
                bus.jetstream.create_key_value(bucket=name, history=1, replicas=3)
            )
        except APIError:
            pass
        try:
            return await uncaught(bus.jetstream.create_key_value(bucket=name, history=1))
        except APIError:  # Somebody else made it meanwhile, and gave it limits.
            return await uncaught(bus.jetstream.key_value(name))

    async def get(self, key: str) -> tuple[M, int] | None:
        """The record and its revision; None when there is none or it cannot be read."""
        try:
            entry = await uncaught(self._kv.get(key))
        except (KeyNotFoundError, KeyDeletedError):
            return None
        except (NatsError, OSError) as error:
            raise NotConnected(str(error)) from error
        record = self._open(key, entry.value or b"")
        return None if record is None else (record, entry.revision or 0)

    async def put(self, key: str, record: M) -> int:
        """Write whatever was there before; the new revision."""
        try:
            return await uncaught(self._kv.put(key, self._encode(record)))
        except (NatsError, OSError) as error:
            raise NotConnected(str(error)) from error

    async def swap(self, key: str, record: M, revision: int) -> int:
        """Write only if the record is still at ``revision`` (0: absent). Raises Conflict."""
        try:
            if revision == 0:
                return await uncaught(self._kv.create(key, self._encode(record)))
            return await uncaught(self._kv.update(key, self._encode(record), last=revision))
        except KeyWrongLastSequenceError as error:
            raise Conflict(key) from error
        except (NatsError, OSError) as error:
            raise NotConnected(str(error)) from error

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Whatever it says; with a ``revision``, only if it is still at that. Raises Conflict."""
        try:
            await uncaught(self._kv.delete(key, last=revision))
        except (NatsError, OSError) as error:
            if isinstance(error, APIError) and error.err_code in _WRONG_REVISION:
                raise Conflict(key) from error
            raise NotConnected(str(error)) from error

    async def erase(self, key: str) -> None:
        """Delete without a mark: watchers hear of it within REREAD_S. For what there is much of."""
        stream, subject = f"KV_{self._kv._name}", f"$KV.{self._kv._name}.{key}"
        try:
            await uncaught(self._bus.jetstream.purge_stream(stream, subject=subject))
        except (NatsError, OSError) as error:
            raise NotConnected(str(error)) from error

    async def all(self) -> dict[str, M]:
        return {key: record for key, (record, _) in (await self.all_revisions()).items()}

    async def all_revisions(self) -> dict[str, tuple[M, int]]:
        found = {key: await self.get(key) for key in await self._keys()}
        return {key: record for key, record in found.items() if record is not None}

    async def _keys(self) -> list[str]:
        """Also of records that are deleted. nats-py's own way leaves a consumer behind each time,
        and a stream has room for so many.
        """
        name = self._kv._name
        prefix = f"$KV.{name}."
        try:
            told = await uncaught(self._bus.jetstream.stream_info(f"KV_{name}", f"{prefix}>"))
        except (NatsError, OSError) as error:
            raise NotConnected(str(error)) from error
        return [subject.removeprefix(prefix) for subject in told.state.subjects or ()]

    async def follow(self, key: str, silence_s: float) -> AsyncGenerator[M | None]:
        """What stands below a key, in the order in which it was written, then what is added.

        None after each ``silence_s`` without any: time for the reader to look elsewhere, and the
        records are then told anew from the first. Who is told one twice must know it.
        """
        while True:
            try:
                watcher = await uncaught(
                    self._kv.watch(f"{key}.*", ignore_deletes=True, inactive_threshold=WATCHER_S)
                )
                try:
                    while (record := await self._next(watcher, silence_s)) is not None:
                        yield record
                finally:
                    await watcher.stop()
            except (NatsError, APIError, OSError) as error:
                log.info("state: following again after %s", error or type(error).__name__)
                await asyncio.sleep(silence_s)
            yield None

    async def _next(self, watcher: KeyValue.KeyWatcher, silence_s: float) -> M | None:
        while True:
            try:
                entry = await uncaught(watcher.updates(timeout=silence_s))
            except (TimeoutError, NatsError):
                return None
            if entry is None:
                continue
            record: M | None = self._open(entry.key, entry.value or b"")
            if record is not None:
                return record

    async def watch(
        self, changed: Callable[[str, M | None], None], read: Mapping[str, M] | None = None
    ) -> None:
        """Tell every record there is, then every change (None: deleted), for ever.

        A change is told once; one that a dead watcher missed is told within
        REREAD_S, or at once after a reconnect. ``read`` was known before: only
        what became of it since is told.
        """
        known: dict[str, M] = dict(read or {})

        def tell(key: str, record: M | None, _: int) -> None:
            if known.get(key) == record:
                return
            if record is None:
                known.pop(key, None)
            else:
                known[key] = record
            changed(key, record)

        await self.watch_revisions(tell, tuple(known))

    async def watch_revisions(
        self, changed: Callable[[str, M | None, int], None], read: Iterable[str] = ()
    ) -> None:
        """As ``watch``, with the revision of each; the same may be told more than once.

        A record that was found missing comes with revision 0.
        """
        known: dict[str, int] = dict.fromkeys(read, 0)
        wake = asyncio.Event()
        self._bus.on_reconnect.append(wake.set)

        def tell(key: str, record: M | None, revision: int) -> None:
            if record is None:
                known.pop(key, None)
            else:
                known[key] = revision
            changed(key, record, revision)

        try:
            while True:
                wake.clear()
                try:
                    self._compare(known, await self.all_revisions(), tell)
                    await self._follow(tell, wake)
                except (NotConnected, NatsError, APIError, OSError) as error:
                    log.info("state: watching again after %s", error or type(error).__name__)
                    await asyncio.sleep(0.1)
        finally:
            self._bus.on_reconnect.remove(wake.set)

    async def _follow(
        self, tell: Callable[[str, M | None, int], None], wake: asyncio.Event
    ) -> None:
        watcher = await uncaught(self._kv.watchall(inactive_threshold=WATCHER_S))
        end = asyncio.get_running_loop().time() + REREAD_S
        try:
            while not wake.is_set() and asyncio.get_running_loop().time() < end:
                try:
                    entry = await uncaught(watcher.updates(timeout=1.0))
                except (TimeoutError, NatsError):
                    continue
                if entry is None:
                    continue
                is_gone = entry.operation in ("DEL", "PURGE")
                record = None if is_gone else self._open(entry.key, entry.value or b"")
                tell(entry.key, record, entry.revision or 0)
        finally:
            # Of a connection that is closed there is nothing to stop.
            with contextlib.suppress(NatsError):
                await watcher.stop()

    @staticmethod
    def _compare(
        known: dict[str, int],
        there: dict[str, tuple[M, int]],
        tell: Callable[[str, M | None, int], None],
    ) -> None:
        for key in [key for key in known if key not in there]:
            tell(key, None, 0)
        for key, (record, revision) in there.items():
            tell(key, record, revision)

    def _open(self, key: str, value: bytes) -> M | None:
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:
            log.warning("state: unreadable record %r: %s", key, error)
            return None
