"""The pictures that were shown of late, so that a conversation's next turn has them ready."""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from bus import blobs
from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import GatewayId
from proto.prompt import Chat, ImagePart
from services.runner.engine.vision.picture import Picture, Unreadable

if TYPE_CHECKING:
    from services.runner.engine.vision.eyes import Eyes

KEPT_BYTES = 1 << 28


class Album:
    """Used by the event loop alone."""

    def __init__(self, bus: Bus, eyes: "Eyes", limit_bytes: int = KEPT_BYTES) -> None:
        self._bus = bus
        self._eyes = eyes
        self._limit = limit_bytes
        self._kept: OrderedDict[bytes, Picture] = OrderedDict()
        self._preparing = asyncio.Lock()

    async def pictures(self, chat: Chat, gateway: GatewayId) -> list[Picture]:
        """Those of a chat, in its order. Raises MeshError."""
        found: list[Picture] = []
        images = chat.images
        for number, image in enumerate(images, 1):
            try:
                found.append(await self._picture(image, gateway))
            except Unreadable as error:
                raise MeshError(
                    Code.INVALID_REQUEST,
                    f"Image {number} of {len(images)} {error}.",
                    param="messages",
                ) from error
        self._evict()
        return found

    async def _picture(self, image: ImagePart, gateway: GatewayId) -> Picture:
        picture = self._recalled(image.digest)
        if picture is not None:
            return picture
        data = await blobs.fetch(self._bus, gateway, image)
        # One at a time: processors are not made for threads, and unpacked pictures are large.
        async with self._preparing:
            picture = self._recalled(image.digest)
            if picture is None:
                picture = await asyncio.to_thread(self._eyes.picture, image.digest, data)
                self._kept[image.digest] = picture
        return picture

    def _recalled(self, digest: bytes) -> Picture | None:
        picture = self._kept.get(digest)
        if picture is not None:
            self._kept.move_to_end(digest)
        return picture

    def _evict(self) -> None:
        """Those of running requests live on with these."""
        held = sum(picture.nbytes for picture in self._kept.values())
        while held > self._limit and self._kept:
            held -= self._kept.popitem(last=False)[1].nbytes
