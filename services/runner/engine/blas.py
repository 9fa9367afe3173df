"""A faster BLAS for Linux, loaded in front of the one that mlx brings."""

import ctypes
import os
import sys

OPENBLAS = "libopenblas.so.0"
REST = "4"
"""log2 of the cycles its idle threads spin before they sleep. By default, 2**26, they take the
cores from mlx's own threads and from everybody who relays the tokens: the first token came
after 24 ms instead of 10, and a step of four cost twice as much."""


def preload() -> str | None:
    """Call before mlx is first imported. The library's name, or None where there is none.

    mlx's wheel links netlib's reference BLAS; OpenBLAS's symbols, made global
    first, win. Prefill becomes six times faster.
    """
    if not sys.platform.startswith("linux"):
        return None
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", REST)
    try:
        ctypes.CDLL(OPENBLAS, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    return OPENBLAS
