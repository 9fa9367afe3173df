"""Code of strangers that runs for so long and no longer: chat templates may loop for ever.

jinja's sandbox bounds what a template may touch, not for how long it runs. Python gives other
threads their turn, so that one of them can have an exception raised in the one that loops.
"""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class OutOfPatience(Exception):
    """It ran for longer than it may."""


class _Watch:
    """One thread that looks after all the others; started when it is first needed.

    Lock and queue are Python's own in C: an exception raised in the middle of a Condition's
    methods would leave it locked.
    """

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        """When the patience with a thread ends, in the time of ``monotonic``."""
        self._interrupted: set[int] = set()
        self._lock = threading.Lock()
        self._news: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, thread: int, seconds: float) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="patience", daemon=True)
            self._thread.start()
        with self._lock:
            self._due[thread] = time.monotonic() + seconds
        self._news.put(None)

    def end(self, thread: int) -> None:
        with self._lock:
            self._due.pop(thread, None)
            if thread in self._interrupted:
                self._interrupted.discard(thread)
                # It may not have been raised yet, and must not be anywhere else.
                _raise_in(thread, ctypes.py_object())

    def _run(self) -> None:
        while True:
            try:
                self._news.get(timeout=self._interrupt())
            except Empty:
                continue

    def _interrupt(self) -> float | None:
        """Those whose time is up: how long until there are more, None if there is nobody."""
        with self._lock:
            now = time.monotonic()
            for thread in [one for one, due in self._due.items() if due <= now]:
                del self._due[thread]
                self._interrupted.add(thread)
                _raise_in(thread, OutOfPatience)
            return min((due - now for due in self._due.values()), default=None)


_watch = _Watch()


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raises OutOfPatience in the middle of what is inside, where that is Python. Not nested."""
    thread = threading.get_ident()
    _watch.begin(thread, seconds)
    try:
        yield
    finally:
        _end(thread)


def _end(thread: int) -> None:
    while True:
        try:
            return _watch.end(thread)
        except OutOfPatience:  # It came when all was done.
            continue
