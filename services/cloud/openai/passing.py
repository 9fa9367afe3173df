"""Requests in OpenAI's own words, and their answers read along."""

import msgspec

from proto.errors import Code, MeshError
from proto.generation import Verbatim
from services.cloud.calling.refusal import broken_off
from services.cloud.openai import responses
from services.cloud.openai.events import Event, piece, read
from services.cloud.openai.vectors import read_along
from services.cloud.piece import Piece
from services.cloud.verbatim.editing import edited, value_of
from services.cloud.verbatim.passing import Reader, said_in
from services.cloud.verbatim.plain import Plain

EMBEDDINGS = "/v1/embeddings"
TELLING_WHEN_ASKED = ("/v1/chat/completions", "/v1/completions")
"""Those whose streams do not say by themselves what they cost."""
ENDPOINTS = (*TELLING_WHEN_ASKED, EMBEDDINGS)
"""Of whoever speaks OpenAI's protocol. What keeps responses is OpenAI alone: others would lose a
conversation that goes on by the name of its last response."""


def reader(name: str, verbatim: Verbatim, *, hides_usage: bool) -> Reader:
    """Of the upstream ``name``'s answer."""
    if verbatim.method != "POST":
        return Plain()
    if verbatim.endpoint == EMBEDDINGS:
        return Plain(read_along)
    if verbatim.endpoint == responses.ENDPOINT:
        return responses.Reading(name)
    return Reading(name, hides_usage=hides_usage)


def asked(verbatim: Verbatim, model: str) -> tuple[bytes, bool]:
    """The body for the upstream, and whether it is asked for usage that the client did not want:
    what a stream costs, it says only then.
    """
    changes = {"model": msgspec.json.encode(model)}
    if verbatim.endpoint not in TELLING_WHEN_ASKED:
        return edited(verbatim.body, changes), False
    options = msgspec.json.decode(value_of(verbatim.body, "stream_options") or b"null")
    streams = value_of(verbatim.body, "stream") == b"true"
    wants_usage = isinstance(options, dict) and options.get("include_usage") is True
    is_added = streams and not wants_usage and (options is None or isinstance(options, dict))
    if is_added:
        changes["stream_options"] = msgspec.json.encode({**(options or {}), "include_usage": True})
    return edited(verbatim.body, changes), is_added


class Reading:
    """A Reader."""

    def __init__(self, name: str, *, hides_usage: bool) -> None:
        """``name``: of the upstream; ``hides_usage``: the client did not ask for the event that
        tells it.
        """
        self.is_complete = False
        self._name = name
        self._hides_usage = hides_usage
        self._unasked: Piece | None = None

    def event(self, data: bytes) -> Piece | None:
        if data == b"[DONE]":
            if not self.is_complete:
                # Some servers say so also when they break an answer off: no client would notice.
                raise broken_off(self._name)
            return None
        event = _event(data)
        if event.error is not None:
            raise MeshError(Code.UPSTREAM, f"The upstream {self._name!r} failed: {event.error}")
        made = said_in(piece(event))
        self.is_complete = self.is_complete or made.reason is not None
        if self._hides_usage and made.usage is not None and not event.choices:
            self._unasked = made
        return made

    def whole(self, body: bytes) -> Piece:
        self.is_complete = True
        return said_in(piece(_event(body)))

    def keeps(self, piece: Piece | None) -> bool:
        return piece is None or piece is not self._unasked


def _event(data: bytes) -> Event:
    """What a newer version says in another form says nothing here. Raises msgspec.DecodeError."""
    try:
        return read(data)
    except msgspec.ValidationError:
        if not data.startswith(b"{"):
            raise
        return Event()
