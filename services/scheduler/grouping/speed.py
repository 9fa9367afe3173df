"""How long a token takes at least: memory is read, links are waited for."""

from collections.abc import Sequence

from proto.group import Backend

BYTES_PER_S = {
    name: gigabytes * 1e9
    for name, gigabytes in {
        "Apple M1": 68, "Apple M1 Pro": 200, "Apple M1 Max": 400, "Apple M1 Ultra": 800,
        "Apple M2": 100, "Apple M2 Pro": 200, "Apple M2 Max": 400, "Apple M2 Ultra": 800,
        "Apple M3": 100, "Apple M3 Pro": 150, "Apple M3 Max": 400, "Apple M3 Ultra": 819,
        "Apple M4": 120, "Apple M4 Pro": 273, "Apple M4 Max": 546,
        "Apple M5": 153, "Apple M5 Pro": 307, "Apple M5 Max": 614,
    }.items()
}  # fmt: skip
"""Of memory, as Apple publishes it for the largest variant of each chip."""
NOMINAL_BYTES_PER_S = 100e9
"""Of a chip that nobody knows: good enough to compare ways, not to promise anything."""
LATENCY_S: dict[Backend, float] = {"ring": 300e-6, "jaccl": 30e-6}
"""Of a small message from rank to rank, where the operator says nothing else."""
SUMS_PER_LAYER = 2
"""Tensor ranks add up what they have after attention and after the feed-forward part."""


def bytes_per_s(chip: str) -> float:
    return BYTES_PER_S.get(chip, NOMINAL_BYTES_PER_S)


def solo_s(read_bytes: int, rate: float) -> float:
    """Of one token."""
    return read_bytes / rate


def tensor_hops(ranks: int, layers: int, backend: Backend) -> int:
    """How often one waits for a message, for one token."""
    # Around a ring a sum passes everybody twice; over RDMA each writes to all others at once.
    return SUMS_PER_LAYER * layers * (2 * (ranks - 1) if backend == "ring" else 1)


def pipeline_hops(ranks: int) -> int:
    """To the next rank, and then all learn what the last one has."""
    return 2 * (ranks - 1)


def message_s(latency_s: float, size: float, bytes_per_s: float) -> float:
    """``bytes_per_s``: 0 where nobody knows."""
    return latency_s + (size / bytes_per_s if bytes_per_s else 0.0)


def tensor_s(read: Sequence[int], rates: Sequence[float], waited_s: float) -> float:
    """All ranks read at the same time, and wait for one another in every layer."""
    return max(size / rate for size, rate in zip(read, rates, strict=True)) + waited_s


def pipeline_s(read: Sequence[int], rates: Sequence[float], waited_s: float) -> float:
    """One rank after the other."""
    return sum(size / rate for size, rate in zip(read, rates, strict=True)) + waited_s
