"""What a request's KV caches take, by a model's config alone, as mlx-lm keeps them.

Where a config leaves it open, the larger size is taken: a cache that is smaller than was reserved
for it harms nobody.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Config = Mapping[str, Any]
Layer = Literal["full", "window", "state", "full and state", "none"]

WINDOWED = frozenset(
    (
        "afmoe", "baichuan_m1", "cohere2", "exaone4", "exaone_moe", "gear", "gemma3", "gemma3_text",
        "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified", "gpt_oss",
        "iquestcoder", "laguna", "llama", "mellum", "mimo_v2_flash", "ministral3", "mistral",
        "mistral3", "muse_glimmer", "muse_spark", "olmo3", "plamo3", "recurrent_gemma", "spark2_5",
        "step3p5", "xverse",
    )
)  # fmt: skip
"""Model types whose windows mlx-lm keeps no more than; others keep all, whatever they look at."""
EXPANDED = frozenset(("deepseek_v2", "minicpm3", "youtu_llm"))
"""Model types with latent attention that mlx-lm caches head by head."""
STATEFUL = frozenset(("mamba", "falcon_mamba", "mamba2", "rwkv7"))
"""Model types without attention."""
INDEXED = frozenset(("deepseek_v32", "glm_moe_dsa"))
"""Latent attention with an indexer, whose keys are kept as keys and values."""
EVERY_NTH_IS_FULL = {
    "gemma3": 6, "gemma3_text": 6, "gemma4": 5, "gemma4_text": 5, "cohere2": 4, "olmo3": 4,
    "gpt_oss": 2,
}  # fmt: skip
"""Where a config does not say which layers have windows; all others of these families do."""

_KINDS: dict[str, Layer] = {
    "full_attention": "full", "attention": "full", "global": "full", "*": "full", "G": "full",
    "sliding_attention": "window", "sliding": "window", "L": "window",
    "linear_attention": "state", "mamba": "state", "mamba2": "state", "conv": "state",
    "recurrent": "state", "M": "state",
    "moe": "none", "mlp": "none", "E": "none", "-": "none",
}  # fmt: skip


class CacheSize(NamedTuple):
    """Of one request, in bytes."""

    per_token: int
    per_request: int
    """Whatever its length: windows, when they are full, and states."""


def cache_size(config: Config, float_bytes: int) -> CacheSize:
    """``float_bytes``: of one number, as activations have it."""
    layers = layer_sizes(config, float_bytes)
    return CacheSize(
        per_token=sum(layer.per_token for layer in layers),
        per_request=sum(layer.per_request for layer in layers),
    )


def layer_sizes(config: Config, float_bytes: int) -> list[CacheSize]:
    """Of each layer that keeps a cache of its own, first to last."""
    config = {**config, **(config.get("text_config") or {})}
    full = CacheSize(float_bytes * _full_numbers(config), 0)
    window = int(_said(config, "sliding_window", "sliding_window_size", "attention_window_size"))
    state = _state_bytes(config, float_bytes)
    of_kind: dict[Layer, CacheSize] = {
        "full": full,
        "window": CacheSize(0, float_bytes * window * _window_numbers(config)),
        "state": CacheSize(0, state),
        "full and state": CacheSize(full.per_token, state),
        "none": CacheSize(0, 0),
    }
    return [of_kind[kind] for kind in layers_of(config)]


def layers_of(config: Config) -> list[Layer]:
    """What each layer keeps."""
    count = int(_said(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers"))
    kinds = _kinds(config, count)
    if str(config.get("model_type")) not in WINDOWED or not _said(
        config, "sliding_window", "sliding_window_size", "attention_window_size"
    ):
        kinds = ["full" if kind == "window" else kind for kind in kinds]
    shared = int(_said(config, "num_kv_shared_layers"))
    return kinds[: len(kinds) - shared] if shared else kinds


def _kinds(config: Config, count: int) -> list[Layer]:
    family = str(config.get("model_type"))
    if family in STATEFUL:
        return ["state"] * count
    if family == "falcon_h1":
        return ["full and state"] * count
    told = _told(config, count)
    if told is not None:
        return told
    nth = config.get("full_attention_interval")
    if nth:
        return ["full" if (i + 1) % nth == 0 else "state" for i in range(count)]
    nth = config.get("sliding_window_pattern") or EVERY_NTH_IS_FULL.get(family)
    if isinstance(nth, int):
        return ["full" if (i + 1) % nth == 0 else "window" for i in range(count)]
    if isinstance(nth, str):
        return [_KINDS.get(nth[i % len(nth)], "full") for i in range(count)]
    return ["full"] * count


def _told(config: Config, count: int) -> list[Layer] | None:
    """What a config says layer by layer; None when it does not."""
    named = _first(config, "layer_types", "layers_block_type", "hybrid_override_pattern")
    if named and not config.get("full_attention_interval"):
        return [_KINDS.get(kind, "full") for kind in named]
    cycle = config.get("block_types") or config.get("_block_types")
    if cycle:  # recurrent_gemma, whose attention always has a window
        return ["state" if cycle[i % len(cycle)] == "recurrent" else "window" for i in range(count)]
    windows = config.get("hybrid_layer_pattern")
    if windows:
        return ["window" if kind == 1 else "full" for kind in windows]
    indices = config.get("full_attn_idxs")
    if indices is not None:
        return ["full" if i in indices else "state" for i in range(count)]
    linear = (config.get("linear_attn_config") or {}).get("kda_layers")
    if linear is not None:
        return ["state" if i + 1 in linear else "full" for i in range(count)]
    period = config.get("attn_layer_period")
    if period:
        offset = config.get("attn_layer_offset") or 0
        return ["full" if i % period == offset else "state" for i in range(count)]
    return None


def _full_numbers(config: Config) -> int:
    """Of a token, in one layer that keeps all."""
    family = str(config.get("model_type"))
    if config.get("kv_lora_rank") and family in EXPANDED:
        nope, rope = _said(config, "qk_nope_head_dim"), _said(config, "qk_rope_head_dim")
        value = _said(config, "v_head_dim") or _head_dim(config)
        return int(_heads(config) * (nope + rope + value))
    if config.get("kv_lora_rank"):
        latent = config["kv_lora_rank"] + _said(config, "qk_rope_head_dim")
        indexed = 2 * _said(config, "index_head_dim") if family in INDEXED else 0
        halves = 2 if family == "longcat_flash" else 1
        return int(halves * latent + indexed)
    if config.get("global_head_dim"):  # gemma4's own
        is_shared = bool(config.get("attention_k_eq_v"))
        heads = (is_shared and config.get("num_global_key_value_heads")) or _kv_heads(config)
        return 2 * int(heads) * int(config["global_head_dim"])
    dim = _head_dim(config)
    return _kv_heads(config) * (dim + int(config.get("v_head_dim") or dim))


def _window_numbers(config: Config) -> int:
    """Of a token, in one layer with a window."""
    dim = int(config.get("swa_head_dim") or _head_dim(config))
    value = int(config.get("swa_v_head_dim") or dim)
    heads = int(config.get("swa_num_key_value_heads") or _kv_heads(config))
    return heads * (dim + value)


def _state_bytes(config: Config, float_bytes: int) -> int:
    """Of one layer that keeps a state; what it sums up over time is float32."""
    narrow, wide = _state_numbers(config)
    return int(narrow * float_bytes + wide * 4)


def _state_numbers(config: Config) -> tuple[float, float]:
    """In the width of activations, and in float32."""
    hidden = _said(config, "hidden_size", "d_model")
    if config.get("linear_num_value_heads"):
        keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
        values = config["linear_num_value_heads"] * config["linear_value_head_dim"]
        kept = config["linear_conv_kernel_dim"] - 1
        return kept * (2 * keys + values), values * config["linear_key_head_dim"]
    if config.get("model_type") == "rwkv7":
        return 2 * hidden, hidden * config["head_dim"]
    linear = config.get("linear_attn_config") or {}
    if linear.get("head_dim"):
        inner = linear["num_heads"] * linear["head_dim"]
        return 3 * (linear.get("short_conv_kernel_size", 4) - 1) * inner, inner * linear["head_dim"]
    if config.get("conv_L_cache"):
        return (config["conv_L_cache"] - 1) * hidden, 0
    if config.get("lru_width") or config.get("conv1d_width"):
        width = _said(config, "lru_width") or hidden
        return _said(config, "conv1d_width") * width, 0
    states = _said(config, "ssm_state_size", "mamba_d_state", "state_size")
    if states:
        return _mamba_numbers(config, hidden, states)
    return 4 * hidden, _heads(config) * _head_dim(config) ** 2


def _mamba_numbers(config: Config, hidden: float, states: float) -> tuple[float, float]:
    kept = _said(config, "conv_kernel", "mamba_d_conv") - 1
    heads = _said(config, "mamba_num_heads", "mamba_n_heads")
    if config.get("model_type") == "mamba2":
        heads = _said(config, "num_heads")
    if not heads:
        inner = _said(config, "d_inner") or _said(config, "mamba_expand", "expand") * hidden
        if config.get("model_type") in ("mamba", "falcon_mamba"):
            inner = _said(config, "intermediate_size", "d_inner") or inner
        return kept * inner, inner * states
    inner = heads * _said(config, "mamba_head_dim", "mamba_d_head", "head_dim")
    groups = _said(config, "n_groups", "mamba_n_groups")
    return kept * (inner + 2 * groups * states), inner * states


def _heads(config: Config) -> int:
    return int(_said(config, "num_attention_heads", "n_head", "n_heads", "num_heads"))


def _kv_heads(config: Config) -> int:
    told = _first(config, "num_key_value_heads", "num_kv_heads", "n_kv_heads")
    if isinstance(told, list):  # One for each layer: the most of any.
        return max(filter(None, told), default=0)
    if config.get("multi_query"):
        return 1
    return int(told or _heads(config))


def _head_dim(config: Config) -> int:
    hidden = _said(config, "hidden_size", "n_embd", "d_model", "model_dim")
    return int(config.get("head_dim") or hidden / max(1, _heads(config)))


def _first(config: Config, *names: str) -> Any:
    return next((config[name] for name in names if config.get(name)), None)


def _said(config: Config, *names: str) -> float:
    """The first of these numbers that a config names; 0 when it names none."""
    told = _first(config, *names)
    return float(told) if isinstance(told, int | float) else 0.0
