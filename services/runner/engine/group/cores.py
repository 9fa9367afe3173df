"""The cores of one machine, where several ranks of a group share it."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from services.runner.engine import blas

_THREADS = Path("/proc/self/task")


def share(place: int, ranks: int) -> None:
    """This process is one of so many ranks here, the ``place``-th. From now on it keeps to cores of
    its own, as far as there are enough, and computes with as many threads.

    A rank that waits for another does so at full speed, and would wait on the cores that the other
    one needs: on two cores a step of two ranks took twice as long. (Linux: Macs compute on GPUs.)
    """
    if ranks < 2 or not sys.platform.startswith("linux"):
        return
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores) // ranks
    blas.use_threads(max(1, count))
    if count:
        _keep_to(cores[place * count : (place + 1) * count])


def _keep_to(cores: list[int]) -> None:
    """With all threads that there are; those that they begin do as well."""
    for thread in _THREADS.iterdir():
        with suppress(ProcessLookupError):  # It has ended meanwhile.
            os.sched_setaffinity(int(thread.name), cores)
