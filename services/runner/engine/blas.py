"""A faster BLAS for Linux, loaded in front of the one that mlx brings."""

import ctypes
import os
import sys

from services.host import switch

OPENBLAS = "libopenblas.so.0"
THREADS = "OPENBLAS_NUM_THREADS"
"""Whoever sets it has decided how many threads OpenBLAS uses, as with any program."""
REST = "4"
"""log2 of the cycles its idle threads spin before they sleep. By default, 2**26, they take the
cores from mlx's own threads and from everybody who relays the tokens: the first token came
after 24 ms instead of 10, and a step of four cost twice as much."""


def preload() -> str | None:
    """Call before mlx is first imported. The library's name, or None where mlx keeps its own.
    Raises SettingError.

    mlx's wheel links netlib's reference BLAS; OpenBLAS's symbols, made global first, win. Prefill
    becomes many times faster. But OpenBLAS adds in another order for each number of rows: with
    ``ODYSSAI_REPRODUCIBLE`` the reference stays, by which a row's sums are the same to the last
    bit in any company, and a token can never tip.
    """
    if not sys.platform.startswith("linux") or switch("ODYSSAI_REPRODUCIBLE"):
        return None
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", REST)
    try:
        ctypes.CDLL(OPENBLAS, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    return OPENBLAS


def share_cores(processes: int) -> int | None:
    """So many processes compute together on this machine's cores, this one among them: a part of
    the cores is this one's. How many that are; None where nothing was changed.

    Each would else take all of them, and wait for threads of its own that the others keep from
    running: a step of two ranks on two cores took twice as long.
    """
    if processes < 2 or THREADS in os.environ or not _is_loaded():
        return None
    own = max(1, len(os.sched_getaffinity(0)) // processes)
    ctypes.CDLL(OPENBLAS).openblas_set_num_threads(own)
    return own


def _is_loaded() -> bool:
    """By ``preload``."""
    try:
        ctypes.CDLL(OPENBLAS, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True
