"""Bodies that travel compressed: a client's are opened here, and answers closed."""

import asyncio
import gzip
import re
import zlib

from proto.dialects.asked import invalid
from proto.errors import Code, MeshError

WORTHWHILE = 1024
"""Bytes of an answer below which compressing it saves nobody anything."""
INLINE = 1 << 16
"""More bytes are worked on beside the event loop."""
LEVEL = 5

_GZIP, _ZLIB, _BARE = 31, 15, -15
"""zlib's numbers for a gzip file, for zlib's own frame, and for none."""


async def opened(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """A body as it was before the client compressed it.

    Raises MeshError when it is damaged, larger than the limit, or coded in another way.
    """
    match coding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            windows = [_GZIP]
        case "deflate":
            windows = [_ZLIB, _BARE]
        case _:
            raise MeshError(
                Code.UNSUPPORTED_MEDIA,
                f"Bodies in content-encoding {coding} are not read; send gzip, deflate or none.",
                param="Content-Encoding",
            )
    if len(body) < INLINE:
        return _opened(body, windows, limit_bytes)
    return await asyncio.to_thread(_opened, body, windows, limit_bytes)


def _opened(body: bytes, windows: list[int], limit_bytes: int) -> bytes:
    for window in windows:
        reader = zlib.decompressobj(window)
        try:
            text = reader.decompress(body, limit_bytes + 1)
        except zlib.error:
            continue
        if len(text) > limit_bytes:
            raise too_large(limit_bytes)
        if reader.eof and not reader.unused_data:
            return text
    raise invalid("The body is not what its content-encoding says; send it whole, or plain.")


def too_large(limit_bytes: int) -> MeshError:
    return MeshError(
        Code.TOO_LARGE, f"The body exceeds {limit_bytes} bytes; send less text in one request."
    )


async def closed(body: bytes) -> bytes:
    """In gzip."""
    if len(body) < INLINE:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header lets an answer come in gzip."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, rest = part.partition(";")
        weight = re.fullmatch(r"\s*q=(\d(?:\.\d*)?)\s*", rest)
        weights[name.strip()] = float(weight[1]) if weight else 1.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0
