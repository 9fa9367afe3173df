"""Tiny random models of mlx-lm's families, one for each way in which caches are kept."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes as classes_of

LAYERS = 4
WINDOW = 64
COMMON = {
    "hidden_size": 64,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "vocab_size": 128,
    "rope_theta": 10000.0,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {
    "kv_lora_rank": 32, "q_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16,
    "v_head_dim": 16, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}  # fmt: skip
DELTA = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 32,
    "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4, "full_attention_interval": 2,
}  # fmt: skip
YARN = {"type": "yarn", "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 1.0}  # fmt: skip
MAMBA = {
    "mamba_num_heads": 4, "mamba_head_dim": 32, "ssm_state_size": 32, "conv_kernel": 4,
    "n_groups": 1, "use_conv_bias": True, "mamba_proj_bias": False, "mlp_bias": False,
    "attention_bias": False, "use_bias": False, "mlp_hidden_act": "relu2",
    "layer_norm_epsilon": 1e-5, "time_step_limit": [0.0, 1e9],
}  # fmt: skip

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    # Windows that mlx-lm does not keep to.
    "gemma2": COMMON | {
        "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2,
        "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3": {
        "vocab_size": 128,
        "text_config": COMMON | {
            "model_type": "gemma3_text", "sliding_window": WINDOW, "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 16,
        },
    },
    # Layers that look into others' caches; wider heads where all is seen.
    "gemma4_text": COMMON | {
        "num_hidden_layers": 6, "num_kv_shared_layers": 2, "sliding_window": WINDOW,
        "sliding_window_pattern": 3, "global_head_dim": 32, "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 128,
    },
    "gpt_oss": COMMON | {
        "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW,
        "rope_scaling": YARN,
    },
    "exaone4": COMMON | {
        "sliding_window": WINDOW, "sliding_window_pattern": "LLLG", "rope_scaling": None,
    },
    "deepseek_v2": COMMON | LATENT | {"rope_scaling": YARN},
    "deepseek_v3": COMMON | LATENT,
    "deepseek_v32": COMMON | LATENT | {"index_head_dim": 16, "index_n_heads": 4, "index_topk": 64},
    "qwen3_next": COMMON | DELTA | EXPERTS | {
        "decoder_sparse_step": 1, "shared_expert_intermediate_size": 32, "mlp_only_layers": [],
        "partial_rotary_factor": 0.25, "norm_topk_prob": True,
    },
    "nemotron_h": COMMON | MAMBA | {"hybrid_override_pattern": "M*-M"},
    "jamba": COMMON | {
        "attn_layer_offset": 1, "attn_layer_period": 2, "expert_layer_offset": 1,
        "expert_layer_period": 2, "mamba_d_conv": 4, "mamba_d_state": 16, "mamba_expand": 2,
        "num_experts": 2, "num_experts_per_tok": 1, "mamba_dt_rank": 4, "mamba_proj_bias": False,
        "mamba_conv_bias": True,
    },
    "mamba": {
        "hidden_size": 64, "intermediate_size": 128, "state_size": 16, "num_hidden_layers": 2,
        "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4,
        "vocab_size": 128, "tie_word_embeddings": True,
    },
    "gpt2": {
        "n_ctx": 1024, "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 1024,
        "layer_norm_epsilon": 1e-5, "vocab_size": 128,
    },
}  # fmt: skip


def make_family(folder: Path, family: str) -> Path:
    """Config and weights; there is no tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": family} | FAMILIES[family]
    whole, arguments = classes_of(config)
    write(folder, whole(arguments.from_dict(config)), config)
    return folder


def write(folder: Path, model: Module, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
