"""What a picture is, by its first bytes: no name and no header is believed."""

from typing import Literal

MediaType = Literal["image/png", "image/jpeg", "image/webp", "image/gif"]

KNOWN = "PNG, JPEG, WebP and GIF"


def media_type(data: bytes) -> MediaType | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if data[:6] in (b"GIF87a", b"GIF89a") else None
