"""Pictures and documents between a gateway and whoever generates: by hash, a megabyte at a time."""

import asyncio
from collections.abc import Callable
from hashlib import sha256

from bus.connection import Bus
from bus.errors import BusError
from proto.blobs import BLOB_PIECE, BlobPiece, FetchBlob
from proto.errors import Code, MeshError
from proto.ids import GatewayId
from proto.prompt import DocumentPart, ImagePart
from proto.subjects import FETCH_BLOB

PIECES_ASKED = 4
"""Pieces under way at once."""


async def give_out(bus: Bus, gateway: GatewayId, find: Callable[[bytes], bytes | None]) -> None:
    """Answer for what ``find`` knows by its SHA-256."""

    async def piece(asked: FetchBlob) -> BlobPiece:
        data = find(asked.digest)
        if data is None or asked.offset < 0:
            raise MeshError(
                Code.NOT_FOUND, "This gateway holds no such picture (any more). Ask again."
            )
        return BlobPiece(data=data[asked.offset : asked.offset + BLOB_PIECE], size=len(data))

    await bus.answer(FETCH_BLOB, piece, gateway)


async def fetch(bus: Bus, gateway: GatewayId, image: ImagePart | DocumentPart) -> bytes:
    """Its bytes. Raises MeshError, also when they are not those that the hash names."""
    turns = asyncio.Semaphore(PIECES_ASKED)

    async def piece(offset: int) -> bytes:
        async with turns:
            asked = FetchBlob(digest=image.digest, offset=offset)
            return (await bus.ask(FETCH_BLOB, asked, gateway)).data

    try:
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(piece(offset)) for offset in range(0, image.size, BLOB_PIECE)
            ]
    except ExceptionGroup as failed:
        raise _lost(failed.exceptions[0]) from failed
    data = b"".join(task.result() for task in asked)
    if sha256(data).digest() != image.digest:
        raise MeshError(Code.INTERNAL, "A picture did not arrive as it was sent. Ask again.")
    return data


def _lost(error: Exception) -> Exception:
    if isinstance(error, BusError):
        return MeshError(Code.BUS_UNAVAILABLE, f"A picture's gateway did not answer: {error}.")
    return error
