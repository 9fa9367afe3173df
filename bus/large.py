"""Records of any size in shared state: what one message cannot carry is kept in pieces.

The head decides. Pieces are written before it and named by a version of their own, so that a
reader finds either the old record or the new one, whole.
"""

import asyncio
import logging
import zlib
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from bus.connection import Bus
from bus.provision import Limits
from bus.state import Bucket
from proto.ids import fresh

log = logging.getLogger(__name__)

M = TypeVar("M")

PIECE = 512 << 10
"""Bytes: half of what any NATS server carries, whatever its settings."""
TRIES = 3
"""A record that is replaced while it is read is read again."""


class Block(Struct, frozen=True, array_like=True):
    """A head, or a piece of one."""

    data: bytes
    """Packed; empty in a head that has pieces."""
    pieces: int = 0
    version: str = ""


class LargeBucket(Generic[M]):
    """Records by key, read and replaced as a whole.

    Every method raises NotConnected while the bus is away.
    """

    def __init__(self, blocks: Bucket[Block], type_: type[M]) -> None:
        self._blocks = blocks
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(type_).decode

    @classmethod
    async def open(cls, bus: Bus, name: str, type_: type[M], limits: Limits) -> "LargeBucket[M]":
        return cls(await Bucket.open(bus, name, Block, limits, is_packed=True), type_)

    async def get(self, key: str) -> tuple[M, int] | None:
        """The record and its revision; None when there is none, or its pieces have expired."""
        for _ in range(TRIES):
            found = await self._blocks.get(key)
            if found is None:
                return None
            head, revision = found
            packed = await self._joined(key, head)
            if packed is not None:
                record = self._open(packed)
                return None if record is None else (record, revision)
        return None

    def _open(self, packed: bytes) -> M | None:
        try:
            return self._decode(zlib.decompress(packed))
        except (zlib.error, msgspec.DecodeError) as error:
            log.warning("a record that cannot be read is ignored: %s", error)
            return None

    async def swap(self, key: str, record: M, revision: int) -> int:
        """Write only if the record is still at ``revision`` (0: absent). Raises Conflict."""
        before = await self._blocks.get(key) if revision else None
        packed = zlib.compress(self._encode(record), 1)
        head = await self._split(key, packed)
        try:
            written = await self._blocks.swap(key, head, revision)
        except BaseException:
            await self._drop(key, head)
            raise
        if before is not None:
            await self._drop(key, before[0])
        return written

    async def delete(self, key: str, revision: int | None = None) -> None:
        """With a ``revision``, only if the record is still at that. Raises Conflict."""
        found = await self._blocks.get(key)
        if found is not None:
            await self._blocks.delete(key, revision)
            await self._drop(key, found[0])

    async def _split(self, key: str, packed: bytes) -> Block:
        if len(packed) <= PIECE:
            return Block(packed)
        version = fresh()
        starts = range(0, len(packed), PIECE)
        for index, start in enumerate(starts):
            piece = Block(packed[start : start + PIECE])
            await self._blocks.put(_piece(key, version, index), piece)
        return Block(b"", len(starts), version)

    async def _joined(self, key: str, head: Block) -> bytes | None:
        if not head.pieces:
            return head.data
        names = [_piece(key, head.version, index) for index in range(head.pieces)]
        found = await asyncio.gather(*(self._blocks.get(name) for name in names))
        if None in found:
            return None
        return b"".join(block.data for block, _ in filter(None, found))

    async def _drop(self, key: str, head: Block) -> None:
        for index in range(head.pieces):
            await self._blocks.delete(_piece(key, head.version, index))


def _piece(key: str, version: str, index: int) -> str:
    return f"{key}.{version}.{index}"
