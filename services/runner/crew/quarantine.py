"""When a model has ended its engine too often to be started again. No clock: it is handed in."""

WINDOW_S = 600.0
"""Ends longer ago than this are forgotten."""


class Crashes:
    """Ends of one engine that nobody asked for."""

    def __init__(self, limit: int) -> None:
        """``limit``: so many within WINDOW_S are too many; 0: none ever are."""
        self._limit = limit
        self._at: list[float] = []

    def note(self, now: float) -> None:
        self._at.append(now)

    def count(self, now: float) -> int:
        self._at = [at for at in self._at if now - at <= WINDOW_S]
        return len(self._at)

    def are_too_many(self, now: float) -> bool:
        return 0 < self._limit <= self.count(now)
