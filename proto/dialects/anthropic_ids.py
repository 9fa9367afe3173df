"""A call's id as Anthropic's clients know it, and back.

The vendor's ids hold letters, digits, ``_`` and ``-`` only; ours may be what a
model wrote, such as ``functions.weather:0``, and must come back as it was, since
some templates show it to the model again.
"""

import re

PREFIX = "toolu_"

_STRANGE = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPED = re.compile(rb"-([0-9a-f]{2})")
_OURS = re.compile(r"toolu_(?:[a-zA-Z0-9_]|-[0-9a-f]{2})+")


def tool_use_id(call: str) -> str:
    """Every character that the vendor's ids cannot hold, as ``-`` and two digits for each byte."""
    return PREFIX + _STRANGE.sub(lambda found: _escaped(found[0]), call)


def call_id(tool_use: str) -> str:
    """What ``tool_use_id`` was given; an id of another server's making stays as it is."""
    if not _OURS.fullmatch(tool_use):
        return tool_use
    raw = tool_use.removeprefix(PREFIX).encode()
    try:
        return _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), raw).decode()
    except UnicodeDecodeError:
        return tool_use


def _escaped(character: str) -> str:
    return "".join(f"-{byte:02x}" for byte in character.encode())
