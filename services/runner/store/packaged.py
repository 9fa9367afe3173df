"""What the packaged model takes, and what it is made of, before anybody has unpacked it."""

from msgspec.structs import replace

from proto.layout import Layout
from proto.memory import Footprint

LAYERS = 30

PACKED_FOOTPRINT = Footprint(
    weights_bytes=98_346_240, kv_bytes_per_token=46_080, context_length=8192
)
"""As it is unpacked where Metal runs it."""
UNPACKED_FOOTPRINT = replace(PACKED_FOOTPRINT, weights_bytes=538_060_032)
"""And elsewhere."""

_HEADS = {"attention heads": 9, "KV heads": 3}

PACKED_LAYOUT = Layout(
    layer_bytes=(2_216_448,) * LAYERS,
    outer_bytes=31_852_800,
    kv_bytes=(1536,) * LAYERS,
    read_bytes=98_346_240,
    token_bytes=1152,
    divided={**_HEADS, "groups of 32 numbers across its feed-forward layers": 48},
    is_divisible=True,
)
UNPACKED_LAYOUT = replace(
    PACKED_LAYOUT,
    layer_bytes=(14_160_384,) * LAYERS,
    outer_bytes=113_248_512,
    read_bytes=538_060_032,
    divided={**_HEADS, "numbers across its feed-forward layers": 1536},
)
