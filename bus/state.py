"""Shared state that outlives a process: typed JetStream KV with watch and compare-and-set."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import (
    APIError,
    KeyDeletedError,
    KeyNotFoundError,
)
from nats.js.kv import KeyValue

from bus.connection import Bus, uncaught
from bus.errors import Conflict, Foreign, NotConnected
from bus.patience import patiently
from bus.provision import Limits, existing, opened
from bus.unread import UnreadRecord

log = logging.getLogger(__name__)

M = TypeVar("M")

WATCHER_S = 10.0
"""So long the server keeps the consumer of a watcher that stopped; nats-py says five minutes."""
REREAD_S = 15.0
"""Watchers of nats-py end in silence when the server restarts: all is read now and then."""


class Bucket(Generic[M]):
    """Records of one type by key. Keys are ids: no stars or spaces; a dot parts levels.

    Every method raises NotConnected while the bus is away. A record that cannot be read is told
    (``Bus.unread``) and is as if it were absent; watchers keep to what they knew. What is no
    record at all is replaced by the next one; what may be a newer version's is not.
    """

    def __init__(self, bus: Bus, kv: KeyValue, type_: type[M], is_packed: bool = False) -> None:
        codec = msgspec.msgpack if is_packed else msgspec.json
        self._bus = bus
        self._kv = kv
        self._encode = codec.Encoder().encode
        self._decode: Callable[[bytes], M] = codec.Decoder(type_).decode
        self._unread: dict[str, UnreadRecord] = {}

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
        return cls(bus, await opened(bus, name, limits), type_, is_packed)

    @classmethod
    async def find(
        cls, bus: Bus, name: str, type_: type[M], *, is_packed: bool = False
    ) -> "Bucket[M] | None":
        """The bucket of that name, if the mesh has it. Raises NotConnected."""
        kv = await existing(bus, name)
        return None if kv is None else cls(bus, kv, type_, is_packed)

    async def get(self, key: str) -> tuple[M, int] | None:
        """The record and its revision; None when there is none or it cannot be read."""
        try:
            entry = await patiently(self._bus, lambda: self._kv.get(key))
        except (KeyNotFoundError, KeyDeletedError):
            self._is_read(key)
            return None
        record = self._open(entry)
        return None if record is None else (record, entry.revision or 0)

    async def put(self, key: str, record: M) -> int:
        """Write whatever was there before; the new revision."""
        return await patiently(self._bus, lambda: self._kv.put(key, self._encode(record)))

    async def swap(self, key: str, record: M, revision: int) -> int:
        """Write only if the record is still at ``revision`` (0: absent, or no record at all).

        Raises Conflict, and Foreign where there is one that may be a newer version's.
        """
        if revision == 0 and (unread := self._unread.get(key)):
            if unread.is_foreign:
                raise Foreign(f"{self._name(key)} is of another version: {unread.why}")
            revision = unread.revision
        value, tries = self._encode(record), 0

        async def write() -> int:
            nonlocal tries
            tries += 1
            if revision == 0:
                return await self._kv.create(key, value)
            return await self._kv.update(key, value, last=revision)

        try:
            return await patiently(self._bus, write)
        except Conflict:
            written = await self._written(key, value) if tries > 1 else None
            if written is None:
                raise
            return written

    async def _written(self, key: str, value: bytes) -> int | None:
        """The revision, if what is there is what was said by a write that nobody answered."""
        try:
            entry = await patiently(self._bus, lambda: self._kv.get(key))
        except (KeyNotFoundError, KeyDeletedError):
            return None
        return entry.revision if entry.value == value else None

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Whatever it says; with a ``revision``, only if it is still at that. Raises Conflict."""
        await patiently(self._bus, lambda: self._kv.delete(key, last=revision))

    async def erase(self, key: str) -> None:
        """Delete without a mark: watchers hear of it within REREAD_S. For what there is much of."""
        stream, subject = f"KV_{self._kv._name}", f"$KV.{self._kv._name}.{key}"
        await patiently(
            self._bus, lambda: self._bus.jetstream.purge_stream(stream, subject=subject)
        )

    async def all(self) -> dict[str, M]:
        return {key: record for key, (record, _) in (await self.all_revisions()).items()}

    async def all_revisions(self) -> dict[str, tuple[M, int]]:
        found = await self._found()
        return {key: record for key, record in found.items() if record is not None}

    async def _found(self) -> dict[str, tuple[M, int] | None]:
        """None for what cannot be read."""
        found = {key: await self.get(key) for key in await self.keys()}
        there = {key: it for key, it in found.items() if it is not None or key in self._unread}
        for key in self._unread.keys() - there.keys():
            self._is_read(key)
        return there

    async def unread(self) -> dict[str, str]:
        """Why each record that cannot be read cannot."""
        await self._found()
        return {key: unread.why for key, unread in self._unread.items()}

    def is_spoiled(self, key: str) -> bool:
        """What is there was no record at all when it was read last."""
        unread = self._unread.get(key)
        return unread is not None and not unread.is_foreign

    async def keys(self) -> list[str]:
        """Also of records that are deleted. nats-py's own way leaves a consumer behind each time,
        and a stream has room for so many.
        """
        name = self._kv._name
        prefix = f"$KV.{name}."
        told = await patiently(
            self._bus, lambda: self._bus.jetstream.stream_info(f"KV_{name}", f"{prefix}>")
        )
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
                log.info("state: following again after %s", str(error) or type(error).__name__)
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
            record: M | None = self._open(entry)
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
                    there = await self._found()
                    for key in known.keys() - there.keys():
                        tell(key, None, 0)
                    for key, found in there.items():
                        if found is not None:
                            tell(key, *found)
                    await self._follow(tell, wake)
                except (NotConnected, NatsError, APIError, OSError) as error:
                    log.info("state: watching again after %s", str(error) or type(error).__name__)
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
                if entry.operation in ("DEL", "PURGE"):
                    self._is_read(entry.key)
                    tell(entry.key, None, entry.revision or 0)
                elif (record := self._open(entry)) is not None:
                    tell(entry.key, record, entry.revision or 0)
        finally:
            # Of a connection that is closed there is nothing to stop.
            with contextlib.suppress(NatsError):
                await watcher.stop()

    def _open(self, entry: KeyValue.Entry) -> M | None:
        try:
            record = self._decode(entry.value or b"")
        except msgspec.DecodeError as error:
            is_foreign = isinstance(error, msgspec.ValidationError)
            self._unread[entry.key] = UnreadRecord(entry.revision or 0, str(error), is_foreign)
            self._bus.unread.record(self._name(entry.key), entry.revision or 0, error)
            return None
        self._is_read(entry.key)
        return record

    def _is_read(self, key: str) -> None:
        """There is nothing there any more that could not be read."""
        if self._unread.pop(key, None):
            self._bus.unread.mended(self._name(key))

    def _name(self, key: str) -> str:
        return f"{self._kv._name}/{key}"
