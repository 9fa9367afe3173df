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


def use_threads(count: int) -> None:
    """Compute with so many from now on; nothing changes where mlx keeps a BLAS of its own, or
    where the environment has decided.
    """
    if THREADS not in os.environ and _is_loaded():
        ctypes.CDLL(OPENBLAS).openblas_set_num_threads(count)


def _is_loaded() -> bool:
    """By ``preload``."""
    try:
        ctypes.CDLL(OPENBLAS, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True
