"""Frames that nobody waits for: whoever sends them is told to stop."""

import time
from collections.abc import Callable

from proto.ids import EngineId, RequestId

EVERY_S = 1.0
"""Between two cancels of one request."""
MOST = 4096
"""Senders remembered; beyond, the one told longest ago is told again."""

Tell = Callable[[EngineId, RequestId, bytes], None]


class Strays:
    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        """``tell`` says to an engine that nobody waits for what it says of a request; the frame is
        handed on.
        """
        self._tell = tell
        self._clock = clock
        self._told: dict[bytes, float] = {}
        """When each subject's sender was told last, the oldest first."""

    def heard(self, subject: bytes, body: bytes) -> None:
        """A frame on ``mesh.v1.stream.<gateway>.<engine>.<request>`` that nobody takes."""
        now = self._clock()
        if now - self._told.get(subject, -EVERY_S) < EVERY_S:
            return
        self._told.pop(subject, None)
        if len(self._told) >= MOST:
            del self._told[next(iter(self._told))]
        self._told[subject] = now
        *_, node, name, request = subject.decode().split(".")
        self._tell(EngineId(f"{node}.{name}"), RequestId(request), body)
