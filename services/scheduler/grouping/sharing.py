"""What each rank of a model would hold. Pure arithmetic of what agents say of its files."""

from collections.abc import Sequence

from proto.layout import Layout
from proto.memory import HEADROOM_BYTES, HEADROOM_SHARE, KV_SHARE, Footprint, Grant, grants


def tensor_parts(whole: Footprint, layout: Layout, ranks: int) -> list[Footprint]:
    """All ranks have the same: their part of every layer, and everything that is of no layer."""
    kv = sum(layout.kv_bytes)
    part = Footprint(
        weights_bytes=layout.outer_bytes + _up(sum(layout.layer_bytes), ranks),
        kv_bytes_per_token=kv if layout.keeps_kv_whole else _up(kv, ranks),
        # Not all that is kept whatever the length can be divided: windows can, states may not.
        kv_bytes_per_request=whole.kv_bytes_per_request,
        context_length=whole.context_length,
    )
    return [part] * ranks


def pipeline_parts(whole: Footprint, layout: Layout, layers: Sequence[int]) -> list[Footprint]:
    """``layers``: how many each rank computes. The last rank has the first ones."""
    parts = []
    end = layout.layers
    for count in layers:
        own = slice(end - count, end)
        end -= count
        parts.append(
            Footprint(
                weights_bytes=layout.outer_bytes + sum(layout.layer_bytes[own]),
                kv_bytes_per_token=sum(layout.kv_bytes[own]),
                kv_bytes_per_request=_up(whole.kv_bytes_per_request * count, layout.layers),
                context_length=whole.context_length,
            )
        )
    return parts


def layers_by_memory(layout: Layout, free: Sequence[int]) -> list[int]:
    """How many layers each rank computes: in proportion to the memory that it has for layers, and
    at least one. Layers are of unequal sizes: whoever has too much gives some to who has room.
    """
    fixed = HEADROOM_BYTES + int((1 + HEADROOM_SHARE) * layout.outer_bytes)
    room = [max(1, size - fixed) for size in free]
    counts = _proportional(room, layout.layers)
    for _ in range(layout.layers):
        left = [size - used for size, used in zip(room, _sizes(layout, counts), strict=True)]
        poorest, richest = left.index(min(left)), left.index(max(left))
        if left[poorest] >= 0 or counts[poorest] == 1:
            break
        counts[poorest] -= 1
        counts[richest] += 1
    return counts


def _sizes(layout: Layout, counts: Sequence[int]) -> list[float]:
    sizes, end = [], layout.layers
    for count in counts:
        sizes.append((1 + HEADROOM_SHARE) * sum(layout.layer_bytes[end - count : end]))
        end -= count
    return sizes


def _proportional(room: Sequence[int], count: int) -> list[int]:
    """Whole numbers that add up, each at least one: who is furthest from its due is corrected."""
    due = [count * size / sum(room) for size in room]
    counts = [max(1, int(part)) for part in due]
    while sum(counts) < count:
        counts[max(range(len(due)), key=lambda at: due[at] - counts[at])] += 1
    while sum(counts) > count:
        spare = [at for at, part in enumerate(counts) if part > 1]
        counts[max(spare, key=lambda at: counts[at] - due[at])] -= 1
    return counts


def common_grants(
    parts: Sequence[Footprint],
    free: Sequence[int],
    wirable: Sequence[int],
    context: int | None,
    batch: int | None,
) -> tuple[Grant, ...] | None:
    """The most generous that fit on every rank: all of them serve the same requests.

    As ``memory.largest_grant``, of which it is the plural.
    """
    tried = list(zip(*(grants(part, context, batch) for part in parts), strict=True))
    modest = [
        each
        for each in tried
        if all(g.kv_bytes <= KV_SHARE * most for g, most in zip(each, wirable, strict=True))
    ]
    return next(
        (
            each
            for each in modest or tried[-1:]
            if all(g.total_bytes <= size for g, size in zip(each, free, strict=True))
        ),
        None,
    )


def least_grants(
    parts: Sequence[Footprint], context: int | None, batch: int | None
) -> tuple[Grant, ...]:
    return tuple(list(grants(part, context, batch))[-1] for part in parts)


def _up(size: int, ranks: int) -> int:
    return -(-size // ranks)
