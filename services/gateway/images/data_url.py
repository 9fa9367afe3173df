"""Pictures and documents that are written into the request itself."""

import binascii
import re
from base64 import b64decode

PICTURES = ("image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif")
DOCUMENTS = ("application/pdf",)
_HEAD = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_SHOWN = 40


class Unusable(Exception):
    """A picture or document cannot be had; the message says why and what to do, to follow
    ``Image 1:``.
    """


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode(url: str, limit_bytes: int, kinds: tuple[str, ...] = PICTURES) -> bytes:
    """Raises Unusable. Base64 is taken strictly: a broken picture is no picture."""
    head = _HEAD.match(url)
    if head is None:
        raise Unusable(f"the data URL has no comma; send data:{kinds[0]};base64,… with its bytes")
    declared = head[1].strip().lower()
    if declared not in kinds:
        raise Unusable(
            f"the data URL declares {declared[:_SHOWN] or 'no media type'}; "
            f"send one of {', '.join(kinds)}"
        )
    if "base64" not in head[2].lower().split(";"):
        raise Unusable(f"the data URL is not base64; send data:{kinds[0]};base64,… with its bytes")
    if (len(url) - head.end()) * 3 // 4 > limit_bytes + 2:
        raise too_large(limit_bytes)
    try:
        return b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as broken:
        raise Unusable(f"its base64 is broken ({broken}); encode the bytes once more") from broken


def too_large(limit_bytes: int) -> Unusable:
    return Unusable(f"it has more than {limit_bytes} bytes; scale it down or compress it more")
