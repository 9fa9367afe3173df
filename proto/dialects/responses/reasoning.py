"""What was thought, in a form that clients hand back without looking inside.

Sealed text is packed, not encrypted: whoever has it had the text before.
"""

import base64
import zlib

MARK = "odyssai1-"
LARGEST = 8 << 20
"""Bytes; nothing honest unpacks to more."""


def sealed(text: str) -> str:
    return MARK + base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


def unsealed(text: str) -> str | None:
    """None for what is not of our making, such as OpenAI's own."""
    if not text.startswith(MARK):
        return None
    try:
        packed = base64.urlsafe_b64decode(text.removeprefix(MARK))
        opened = zlib.decompressobj()
        found = opened.decompress(packed, LARGEST).decode()
    except (ValueError, zlib.error):
        return None
    return found if opened.eof else None
