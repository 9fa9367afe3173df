"""An upstream's own words, which go to the client as they are."""

from collections.abc import Callable

from proto.errors import MeshError
from proto.frames import CallDelta, Delta, End, Progress
from services.gateway.answering.wire import Events


class OwnWords:
    """Events of a stream that may come word for word, and of what else may have to answer it."""

    def __init__(self, events: Events, is_verbatim: Callable[[], bool]) -> None:
        """``is_verbatim``: who answers now speaks for itself."""
        self._events = events
        self._is_verbatim = is_verbatim
        self._is_over = False

    @property
    def is_complete(self) -> bool:
        return self._is_over or self._events.is_complete

    def progress(self, index: int, frame: Progress) -> bytes:
        """No beginning yet: an upstream may have to make another in its place."""
        return b"" if self._is_verbatim() else self._events.waiting()

    def delta(self, index: int, frame: Delta) -> bytes:
        return self._events.delta(index, frame)

    def call(self, index: int, frame: CallDelta) -> bytes:
        return self._events.call(index, frame)

    def end(self, index: int, frame: End) -> bytes:
        if not self._is_verbatim():
            return self._events.end(index, frame)
        self._is_over = True
        return b""

    def waiting(self, what: str = "") -> bytes:
        return self._events.waiting(what)

    def failed(self, error: MeshError) -> bytes:
        return self._events.failed(error)
