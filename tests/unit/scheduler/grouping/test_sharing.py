"""What each rank of a model holds."""

from itertools import pairwise

import pytest

from proto.layout import Layout
from proto.memory import HEADROOM_BYTES, Footprint
from services.scheduler.grouping.sharing import (
    common_grants,
    layers_by_memory,
    pipeline_parts,
    tensor_parts,
)
from tests.unit.scheduler.paper import GB

WHOLE = Footprint(
    weights_bytes=11 * GB, kv_bytes_per_token=1000, kv_bytes_per_request=500, context_length=8192
)
LAYOUT = Layout(
    layer_bytes=(GB,) * 10, outer_bytes=GB, kv_bytes=(100,) * 10, read_bytes=11 * GB,
    is_divisible=True, is_stageable=True,
)  # fmt: skip


def test_tensor_ranks_divide_layers_and_caches_and_all_have_the_rest() -> None:
    parts = tensor_parts(WHOLE, LAYOUT, 2)

    assert [p.weights_bytes for p in parts] == [6 * GB, 6 * GB]
    assert [p.kv_bytes_per_token for p in parts] == [500, 500]


def test_a_latent_cache_is_whole_on_every_tensor_rank() -> None:
    latent = Layout(
        layer_bytes=(GB,), outer_bytes=0, kv_bytes=(100,), read_bytes=GB, keeps_kv_whole=True
    )
    assert [p.kv_bytes_per_token for p in tensor_parts(WHOLE, latent, 2)] == [100, 100]


def test_the_last_pipeline_rank_has_the_first_layers() -> None:
    uneven = Layout(
        layer_bytes=(GB, 2 * GB, 4 * GB), outer_bytes=0, kv_bytes=(1, 2, 4), read_bytes=7 * GB
    )
    parts = pipeline_parts(WHOLE, uneven, [1, 2])

    assert [p.weights_bytes for p in parts] == [4 * GB, 3 * GB]
    assert [p.kv_bytes_per_token for p in parts] == [4, 3]


@pytest.mark.parametrize("free", [(9, 9), (12, 5), (5, 12), (30, 3), (8, 8, 8), (20, 4, 4)])
def test_every_layer_is_of_exactly_one_rank_in_proportion_to_memory(free: tuple[int, ...]) -> None:
    layers = layers_by_memory(LAYOUT, [size * GB for size in free])

    assert sum(layers) == 10
    assert min(layers) >= 1
    by_room = sorted(zip(free, layers, strict=True))
    assert all(one[1] <= other[1] + 1 for one, other in pairwise(by_room))


def test_who_has_no_room_for_a_large_layer_gives_one_away() -> None:
    """By number they would share evenly; the last two layers are as large as all others."""
    uneven = Layout(
        layer_bytes=(GB,) * 6 + (4 * GB,) * 2, outer_bytes=0, kv_bytes=(0,) * 8, read_bytes=14 * GB
    )
    layers = layers_by_memory(uneven, [10 * GB, 10 * GB])

    assert layers == [3, 5]


def test_all_ranks_are_granted_the_same_requests() -> None:
    """The second has room for less, so the first is granted no more."""
    parts = tensor_parts(WHOLE, LAYOUT, 2)
    needed = 6 * GB + HEADROOM_BYTES + int(0.05 * 6 * GB)
    granted = common_grants(
        parts, [100 * GB, needed + 2 * (500 * 8192 + 500)], [100 * GB] * 2, None, None
    )

    assert granted
    assert [(g.context, g.kv_tokens) for g in granted] == [(8192, 2 * 8192)] * 2


def test_none_is_granted_where_one_rank_has_no_room() -> None:
    parts = tensor_parts(WHOLE, LAYOUT, 2)

    assert common_grants(parts, [100 * GB, 6 * GB], [100 * GB] * 2, None, None) is None
