"""Why a model does not fit, in numbers, and what would make it fit."""

from proto.errors import Code, MeshError
from proto.ids import ModelId, NodeId
from proto.memory import Footprint, Grant, grants, least_grant
from proto.plan import Placement
from services.scheduler.view import View

KEPT_SHARE = 0.3
"""Of 16-bit weights a quarter stays when they are quantised to 4 bits, and a little for scales."""


def no_memory(
    view: View,
    node: NodeId,
    model: ModelId,
    footprint: Footprint,
    context: int | None,
    batch: int | None,
    why: str = "",
) -> MeshError:
    """Raised when even the least grant that was asked for finds no room on a node."""
    least = least_grant(footprint, context, batch)
    needed, left = told_apart(least.total_bytes, max(0, view.free_bytes(node)))
    parts = [
        f"{model} needs {needed} ({_made_of(least)})",
        f"{node} has {left} left of {gigabytes(_wirable(view, node))}{_reserved(view, node)}",
    ]
    text = "; ".join(parts) + (f"; {why}" if why else "")
    ways = _ways(view, node, model, footprint, least)
    hint = f" It would fit {', or '.join(ways)}." if ways else ""
    return MeshError(Code.NO_MEMORY, f"{text}.{hint}", param="model")


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 95e6 else f"{size / 1e6:.0f} MB"


def told_apart(needed: int, left: int) -> tuple[str, str]:
    """In megabytes where rounding would make too little look like enough."""
    if gigabytes(needed) != gigabytes(left):
        return gigabytes(needed), gigabytes(left)
    return f"{needed / 1e6:.0f} MB", f"{left / 1e6:.0f} MB"


def _made_of(grant: Grant) -> str:
    batch = max(1, grant.kv_tokens // max(1, grant.context))
    return (
        f"weights {gigabytes(grant.weights_bytes)}, KV cache {gigabytes(grant.kv_bytes)} for "
        f"{batch} × {grant.context} tokens, head-room {gigabytes(grant.headroom_bytes)}"
    )


def _wirable(view: View, node: NodeId) -> int:
    beat = view.nodes.get(node)
    return beat.wirable_bytes if beat else 0


def _reserved(view: View, node: NodeId) -> str:
    held = view.plan(node).placements
    if not held:
        return ""
    total = sum(p.grant.total_bytes for p in held)
    return f": {gigabytes(total)} are reserved for {', '.join(sorted(p.model for p in held))}"


def _ways(
    view: View, node: NodeId, model: ModelId, footprint: Footprint, least: Grant
) -> list[str]:
    free = view.free_bytes(node)
    return [
        *_smaller(footprint, free, least),
        *_after_unloading(view, node, least.total_bytes - free),
        *(_quantised(free, least) if _stays_packed(view, node, model) else []),
    ]


def _smaller(footprint: Footprint, free: int, least: Grant) -> list[str]:
    """The most generous grant below the one that was insisted on."""
    found = next((g for g in grants(footprint) if g.total_bytes <= free), None)
    if found is None or found.total_bytes >= least.total_bytes:
        return []
    return [f"with --context {found.context} --batch {found.kv_tokens // found.context}"]


def _after_unloading(view: View, node: NodeId, missing: int) -> list[str]:
    """The smallest engine that is enough."""

    def frees(placement: Placement) -> int:
        return view.holding(placement).counted_bytes

    enough = [p for p in view.plan(node).placements if frees(p) >= missing]
    if not enough:
        return []
    one = min(enough, key=lambda p: (frees(p), p.engine))
    return [f"after `odyssai unload {one.model}` ({gigabytes(frees(one))})"]


def _stays_packed(view: View, node: NodeId, model: ModelId) -> bool:
    """Fewer bits would help: it is not quantised yet, and the node has Metal, where weights are
    used as they are packed.
    """
    beat = view.nodes.get(node)
    packed = any(known.quantization.endswith("bit") for _, known in view.stored(model))
    return beat is not None and beat.platform.startswith("Darwin") and not packed


def _quantised(free: int, least: Grant) -> list[str]:
    kept = KEPT_SHARE * least.weights_bytes + least.kv_bytes + least.headroom_bytes
    return ["as a 4-bit conversion (`odyssai convert --bits 4`)"] if kept <= free else []
