"""What a dialect has to bring to be served over HTTP."""

from typing import Protocol

from msgspec import Struct

from proto.dialects.asked import Answered, Asked
from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from proto.ids import RequestId
from proto.telemetry import Dialect
from services.gateway.http.exchange import Headers


class Events(Protocol):
    """Frames of one answer's choices, in; the body of a stream, out."""

    @property
    def is_complete(self) -> bool: ...

    def progress(self, index: int, frame: Progress) -> bytes: ...

    def delta(self, index: int, frame: Delta) -> bytes: ...

    def call(self, index: int, frame: CallDelta) -> bytes: ...

    def end(self, index: int, frame: End) -> bytes: ...

    def waiting(self, what: str = "") -> bytes:
        """A sign of life, where the dialect has a way to give one, saying what is waited for."""

    def failed(self, error: MeshError) -> bytes: ...


class About(Struct, frozen=True):
    """What an answer says of itself."""

    request: RequestId
    created: int
    """Unix time in seconds."""
    fingerprint: str


class Sink(Protocol):
    """Where the body of a stream goes."""

    async def write(self, body: bytes, more: bool = True) -> None: ...


class Endpoint(Protocol):
    """What a request's record says of where it came in."""

    endpoint: str
    dialect: Dialect


class Wire(Endpoint, Protocol):
    """One endpoint of a dialect."""

    stream_headers: Headers

    def asked(self, body: bytes) -> Asked:
        """Raises MeshError."""

    def events(self, asked: Asked, about: About) -> Events: ...

    def whole(self, asked: Asked, about: About, answers: list[Answered]) -> bytes: ...

    def refusal(self, error: MeshError, request: RequestId) -> bytes: ...
