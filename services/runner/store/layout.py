"""How the weights of a model are spread over its layers, and what may be divided of them."""

import re
from collections.abc import Mapping
from typing import Any

from proto.layout import Layout
from services.runner.models.abilities import abilities
from services.runner.models.folder import nested
from services.runner.store.kv_cache import EXPANDED, layer_sizes
from services.runner.store.weights import Tensor, Tensors, weights_bytes

Config = Mapping[str, Any]

HANDED_ON_BYTES = 2
"""Of one number between two layers, in whatever the weights are quantised to."""
_LAYER = re.compile(
    r"^(?:language_model\.)?(?:model\.|transformer\.|backbone\.)*(?:layers|h)\.(\d+)\."
)
_EXPERT = re.compile(r"\.(?:experts|switch_mlp|switch_glu)\.")
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k_experts", "moe_topk")
_EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
_HEADS = {"attention heads": "num_attention_heads", "KV heads": "num_key_value_heads"}
_WIDTHS = {
    "numbers across its feed-forward layers": "intermediate_size",
    "numbers across its experts": "moe_intermediate_size",
}


def layout(tensors: Tensors, config: Config, width: int, *, unpacks: bool) -> Layout:
    """``width``: bytes of one number of the KV caches. ``unpacks``: as of ``weights_bytes``."""
    of_layer: dict[int, dict[str, Tensor]] = {}
    outer: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = _LAYER.match(name)
        (of_layer.setdefault(int(found[1]), {}) if found else outer)[name] = tensor
    count = int(nested(dict(config), "num_hidden_layers") or len(of_layer))
    # Layers past the last one are for drafting, and mlx-lm drops them.
    layers = [of_layer.get(layer, {}) for layer in range(count)]

    def size(part: Tensors) -> int:
        return weights_bytes(part, config, unpacks=unpacks)

    family = str(nested(dict(config), "model_type") or "")
    able = abilities(str(config.get("model_type", "")))
    kept = [layer.per_token for layer in layer_sizes(config, width)]
    return Layout(
        layer_bytes=tuple(map(size, layers)),
        outer_bytes=size(outer),
        kv_bytes=tuple([*kept, *[0] * count][:count]),
        read_bytes=sum(int(size(layer) - _unread(size, layer, config)) for layer in layers)
        + size(_without_lookups(outer)),
        token_bytes=HANDED_ON_BYTES * int(nested(dict(config), "hidden_size") or 0),
        divided=_divided(config, unpacks=unpacks),
        keeps_kv_whole=bool(nested(dict(config), "kv_lora_rank")) and family not in EXPANDED,
        is_divisible=able.is_divisible,
        is_stageable=able.is_stageable,
    )


def _unread(size: Any, layer: Tensors, config: Config) -> float:
    """Of a layer: the experts that a token does not go to."""
    plain = dict(config)
    chosen = next(filter(None, (nested(plain, name) for name in _CHOSEN)), 0)
    experts = next(filter(None, (nested(plain, name) for name in _EXPERTS)), 0)
    if not chosen or not experts:
        return 0.0
    of_experts = {name: tensor for name, tensor in layer.items() if _EXPERT.search(name)}
    return float(size(of_experts)) * max(0.0, 1 - int(chosen) / int(experts))


def _without_lookups(outer: Tensors) -> Tensors:
    """Of an embedding that is not the head, too, a token takes one row."""
    has_head = any("lm_head." in name for name in outer)
    return {
        name: tensor for name, tensor in outer.items() if not (has_head and "embed_tokens." in name)
    }


def _divided(config: Config, *, unpacks: bool) -> dict[str, int]:
    """Quantised weights are divided in whole groups that share a scale."""
    plain = dict(config)
    told = config.get("quantization") or config.get("quantization_config") or {}
    group = 1 if unpacks else int(told.get("group_size") or 1)
    heads = {words: nested(plain, name) for words, name in _HEADS.items()}
    widths = {words: nested(plain, name) for words, name in _WIDTHS.items()}
    counts = {
        **{words: count for words, count in heads.items() if isinstance(count, int)},
        **{
            words if group == 1 else f"groups of {group} {words}": count // group
            for words, count in widths.items()
            if isinstance(count, int)
        },
    }
    return {words: count for words, count in counts.items() if count}
