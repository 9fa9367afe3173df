"""Sizes, times, orders and jobs in words, for people."""

from collections.abc import Sequence

from proto.jobs import (
    Convert,
    Drain,
    Job,
    Load,
    NodeProgress,
    Order,
    Pin,
    Pull,
    Remove,
    RemoveNode,
    Restart,
    Sync,
    Undrain,
    Unload,
)
from proto.telemetry import JobEvent


def size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Roughly, in one unit."""
    for length_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def brief(seconds: float) -> str:
    """Of what takes less than a second as a rule."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def rate(bytes_per_s: float) -> str:
    """Empty where it is not known."""
    return f"{size(round(bytes_per_s))}/s" if bytes_per_s else ""


def share(done: int, total: int) -> str:
    """Empty where it is not known how much there is to do."""
    return f"{100 * done // total} %" if total else ""


def ordered(order: Order) -> str:
    """An order much as it is typed."""
    match order:
        case Load():
            return _joined("load", order.model, _at(order.nodes), _shared(order))
        case Unload():
            return _joined("unload", order.model, _at(order.nodes))
        case Pin():
            return f"{'pin' if order.is_pinned else 'unpin'} {order.model}"
        case Pull():
            revision = f"@{order.revision}" if order.revision else ""
            return _joined("pull", f"{order.model}{revision}", _at(order.nodes))
        case Sync():
            return _joined("sync", order.model, _at(order.nodes))
        case Convert():
            return _joined("convert", order.model, f"to {order.name}" if order.name else "")
        case Remove():
            return _joined("rm", order.model, _at(order.nodes))
        case Drain() | Undrain() | Restart():
            return f"{type(order).__name__.lower()} {order.node}"
        case RemoveNode():
            return f"remove {order.node}"


def progress(node: NodeProgress) -> str:
    """What a node does for a job, and how far it is with it."""
    figures = share(node.done_bytes, node.total_bytes)
    if figures:
        figures = f"{figures} of {size(node.total_bytes)}"
    return " · ".join(filter(None, (f"{node.node} {node.phase}", figures, node.detail)))


def job_state(job: Job | JobEvent) -> str:
    """``running`` is said by its phase, everything else by its name."""
    return job.phase if job.state == "running" else job.state


def _at(nodes: Sequence[str]) -> str:
    return f"on {', '.join(nodes)}" if nodes else ""


def _shared(order: Load) -> str:
    """By several nodes together, as far as that was asked for."""
    ways = {"solo": "alone", "tensor": "by tensor", "pipeline": "by pipeline", "auto": ""}
    ranks = f"by {order.ranks} ranks" if order.ranks is not None else ""
    return _joined(ways[order.way], ranks, f"of {order.cluster}" if order.cluster else "")


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))
