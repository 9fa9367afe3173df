"""Keys taken out of what upstreams say: some repeat in an error what they were shown."""

import re
from collections.abc import Iterable

from proto.errors import MeshError

_LIKE_A_KEY = re.compile(r"\b(?:sk|pk|rk|gsk|xai|odk)[-_][\w*.…-]{6,}|(?<=[Bb]earer )[^\s\"',]+")
_GONE = "(a key)"
SHORTEST = 4
"""What is shorter would be found everywhere."""


def redacted(text: str, keys: Iterable[str]) -> str:
    for key in keys:
        if len(key) >= SHORTEST:
            text = text.replace(key, _GONE)
    return _LIKE_A_KEY.sub(_GONE, text)


def take_keys_out(error: MeshError, keys: Iterable[str]) -> None:
    error.message = redacted(error.message, keys)
    error.args = (error.message,)
