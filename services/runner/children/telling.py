"""A child's word of how far it is, a few times a second, while it waits for bytes."""

import threading
from collections.abc import Callable
from types import TracebackType

from services.runner.children.child import Progressed, say

EVERY_S = 0.25


class Telling:
    """Says what is there already, from a thread of its own, until it is left."""

    def __init__(self, total_bytes: int, there: Callable[[], int]) -> None:
        self.step = ""
        self._total_bytes = total_bytes
        self._there = there
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Telling":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._say()

    def _run(self) -> None:
        while True:
            self._say()
            if self._over.wait(EVERY_S):
                return

    def _say(self) -> None:
        say(Progressed(self.step, min(self._there(), self._total_bytes), self._total_bytes))
