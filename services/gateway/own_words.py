"""Requests that reach an upstream as their clients wrote them.

Where all that serve a model speak the client's dialect, nothing is lost by a translation, and what
the vendor invents tomorrow works the day it appears.
"""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.asked import Asked
from proto.dialects.nesting import is_flat
from proto.errors import MeshError
from proto.generation import Verbatim
from proto.ids import ModelId
from proto.prompt import Text
from services.gateway.answering.wire import Wire
from services.gateway.defaults import is_silent
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange

MOST_BYTES = 4 << 20
"""What is larger has pictures, which the bus carries by hash."""
FORWARDED = (b"anthropic-beta", b"anthropic-version", b"openai-beta", b"http-referer", b"x-title")
"""Headers that say something of the request itself, or of the application that it comes from."""
UNSPOKEN = (Text(text=""),)


class _Head(Struct, frozen=True):
    """What has to be known of any request."""

    model: str | None = None
    stream: bool | None = None


def heard(gateway: Gateway, wire: Wire, body: bytes) -> tuple[Asked, MeshError | None]:
    """What is asked, and why it cannot be said in the mesh's own words, if that is so. Raises
    MeshError when who serves the model would not understand it either.
    """
    try:
        return wire.asked(body), None
    except MeshError as refused:
        asked = unread(gateway, wire.endpoint, body)
        if asked is None:
            raise
        return asked, refused


def unread(gateway: Gateway, endpoint: str, body: bytes) -> Asked | None:
    """What has to be known of any request, where all that serve its model speak as it does; else
    None.
    """
    try:
        head = msgspec.json.decode(body, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    model = gateway.target(head.model or "")
    if not _all_speak(gateway, model, endpoint) or len(body) > MOST_BYTES or not is_flat(body):
        return None
    return Asked(model=ModelId(head.model or ""), prompts=UNSPOKEN, stream=bool(head.stream))


def in_own_words(
    gateway: Gateway,
    exchange: Exchange,
    endpoint: str,
    body: bytes,
    asked: Asked,
    refused: MeshError | None,
) -> Asked:
    """What is asked, as it came where that is understood. Raises ``refused`` where only that would
    have been.
    """
    chain = (replace(asked, fallbacks=()), *asked.fallbacks)
    spoken = [_is_spoken(gateway, each, endpoint, body) for each in chain]
    if refused is not None and not spoken[0]:
        raise refused
    if not any(spoken):
        return asked
    verbatim = spoken_by(exchange, endpoint, body)
    first, *others = [
        worded(each, verbatim) if is_spoken else each
        for each, is_spoken in zip(chain, spoken, strict=True)
    ]
    if refused is not None:
        others = [other for other in others if other.verbatim]
    elif asked.choices > 1 and not all(other.verbatim for other in others):
        # An upstream makes all choices at once, where the mesh makes each by itself.
        return asked
    return replace(first, fallbacks=tuple(others))


def _is_spoken(gateway: Gateway, asked: Asked, endpoint: str, body: bytes) -> bool:
    """Also where the operator has a say in what is asked, it has to be translated."""
    return (
        len(body) <= MOST_BYTES
        and _all_speak(gateway, asked.model, endpoint)
        and is_silent(gateway.model_config(asked.model, asked.called))
    )


def _all_speak(gateway: Gateway, model: ModelId, endpoint: str) -> bool:
    beats = gateway.fleet.holders(model)
    return bool(beats) and all(endpoint in beat.speaks for beat in beats)


def spoken_by(exchange: Exchange, endpoint: str, body: bytes) -> Verbatim:
    """A client's own words."""
    headers = {name.decode(): exchange.header(name) for name in FORWARDED}
    told = {name: value for name, value in headers.items() if value is not None}
    return Verbatim(endpoint=endpoint, body=body, headers=told)


def worded(asked: Asked, verbatim: Verbatim) -> Asked:
    """The same, to be asked in these words."""
    return replace(asked, prompts=UNSPOKEN, n=1, ignored=(), verbatim=verbatim)
