"""How far an engine may run ahead of a client: to a window beyond what its socket took."""

WINDOW = 32
"""Frames that may wait for a stream's reader before its engine is told to hold: a thousand streams
with twenty alternatives to each token keep a tenth of a gigabyte so."""
HOLD_S = 8.0
"""How long a hold lasts that is not said again: what the loss of the word to go on may cost."""
REPEAT_S = 2.5


class Credit:
    """One stream's: what its engine was told, and when."""

    __slots__ = ("_said_at",)

    def __init__(self) -> None:
        self._said_at: float | None = None

    @property
    def is_held(self) -> bool:
        return self._said_at is not None

    def due(self, waiting: int, now: float) -> float | None:
        """For how many seconds the engine is to be told to hold, 0: to go on; None: nothing.

        ``waiting`` frames were not taken by the reader at ``now``, in monotonic seconds. One who
        took all there was gets more at once: what its socket holds lasts until the engine goes on.
        """
        if waiting > WINDOW:
            if self._said_at is not None and now - self._said_at < REPEAT_S:
                return None
            self._said_at = now
            return HOLD_S
        if self._said_at is None or waiting:
            return None
        self._said_at = None
        return 0.0
