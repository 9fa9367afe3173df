"""Tiny random models that see, one of each family: config, weights and processor files.

The tokenizer is that of ``tiny`` with the families' marks behind it.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from tests import tiny

ROWS = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
MARKS = (
    *("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *ROWS),
    *("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"),
    *("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    *("<start_of_image>", "<image_soft_token>", "<end_of_image>"),
)
ID = {mark: tiny.VOCAB + number for number, mark in enumerate(MARKS)}
VOCAB = tiny.VOCAB + len(MARKS)
CONTEXT = 4096

TEXT = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCAB,
    "rope_theta": 10000.0,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
}
SEEN = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
NORMED = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "rescale_factor": 1 / 255,
    "resample": 3,
}
QWEN_MARKS = {
    "image_token_id": ID["<|image_pad|>"],
    "video_token_id": ID["<|video_pad|>"],
    "vision_start_token_id": ID["<|vision_start|>"],
    "vision_end_token_id": ID["<|vision_end|>"],
}
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_FILES = {
    "preprocessor_config.json": {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 4,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 64,
        "max_pixels": 4096,
        "size": {"shortest_edge": 64, "longest_edge": 4096},
        **NORMED,
    }
}
QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_patch_size": 4}


def _idefics(family: str, processor: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    vision = {
        "model_type": "siglip_vision_model",
        "patch_size": 8,
        "image_size": 32,
        "num_hidden_layers": 2,
    }
    config = {
        "image_token_id": ID["<image>"],
        "scale_factor": 2,
        "vocab_size": VOCAB,
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": SEEN | vision,
    }
    files = {
        "preprocessor_config.json": {
            "image_processor_type": f"{processor}ImageProcessor",
            "do_image_splitting": True,
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
            "do_pad": True,
            **NORMED,
        },
        "processor_config.json": {"image_seq_len": 4},
    }
    return "<image>", config, files


def _gemma3() -> tuple[str, dict[str, Any], dict[str, Any]]:
    windows = {"sliding_window": 32, "sliding_window_pattern": 3, "num_hidden_layers": 3}
    shown = {"mm_tokens_per_image": 4}
    siglip = {"model_type": "siglip_vision_model", "patch_size": 8, "image_size": 32}
    config = {
        "image_token_index": ID["<image_soft_token>"],
        "hidden_size": TEXT["hidden_size"],
        **shown,
        "text_config": TEXT | windows | shown | {"model_type": "gemma3_text"},
        "vision_config": SEEN | siglip | {"num_hidden_layers": 2},
    }
    marks = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    files = {
        "preprocessor_config.json": {
            "image_processor_type": "Gemma3ImageProcessor",
            "image_seq_length": 4,
            "size": {"height": 32, "width": 32},
            **NORMED,
        },
        "processor_config.json": {"image_seq_length": 4},
        "tokenizer_config.json": {"extra_special_tokens": marks},
    }
    return "<start_of_image>", config, files


def _llava() -> tuple[str, dict[str, Any], dict[str, Any]]:
    clip = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8}
    strategy = {"vision_feature_select_strategy": "default"}
    config = {
        "image_token_index": ID["<image>"],
        "vision_feature_layer": -2,
        **strategy,
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": SEEN | clip | {"num_hidden_layers": 2, "projection_dim": 32},
    }
    files = {
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 32},
            "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32},
            **NORMED,
        },
        "processor_config.json": {"patch_size": 8, "num_additional_image_tokens": 1, **strategy},
    }
    return "<image>", config, files


def _mistral3() -> tuple[str, dict[str, Any], dict[str, Any]]:
    pixtral = {"model_type": "pixtral", "image_size": 64, "patch_size": 4, "head_dim": 16}
    config = {
        "image_token_index": ID["[IMG]"],
        "spatial_merge_size": 2,
        "text_config": TEXT | {"model_type": "mistral"},
        "vision_config": SEEN | pixtral | {"num_hidden_layers": 2, "rope_theta": 10000.0},
    }
    files = {
        "preprocessor_config.json": {
            "image_processor_type": "PixtralImageProcessor",
            "size": {"longest_edge": 64},
            "patch_size": {"height": 8, "width": 8},
            **NORMED,
        },
        "processor_config.json": {"patch_size": 4, "spatial_merge_size": 2},
    }
    return "[IMG]", config, files


def _qwen2_vl() -> tuple[str, dict[str, Any], dict[str, Any]]:
    sections = {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    vision = QWEN_VISION | {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    config = QWEN_MARKS | TEXT | sections
    return QWEN_PICTURE, config | {"vision_config": vision}, QWEN_FILES


def _qwen2_5_vl() -> tuple[str, dict[str, Any], dict[str, Any]]:
    picture, config, files = _qwen2_vl()
    windows = {"window_size": 16, "fullatt_block_indexes": [1]}
    vision = QWEN_VISION | SEEN | {"out_hidden_size": 64} | windows
    return picture, config | {"vision_config": vision}, files


def _qwen3_vl() -> tuple[str, dict[str, Any], dict[str, Any]]:
    sections = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    places = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = QWEN_MARKS | {
        "text_config": TEXT | {"model_type": "qwen3_vl_text", "rope_scaling": sections},
        "vision_config": QWEN_VISION | SEEN | {"depth": 3, "out_hidden_size": 64} | places,
    }
    return QWEN_PICTURE, config, QWEN_FILES


def _qwen3_vl_moe() -> tuple[str, dict[str, Any], dict[str, Any]]:
    picture, config, files = _qwen3_vl()
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    }
    text = config["text_config"] | experts | {"model_type": "qwen3_vl_moe_text"}
    return picture, config | {"text_config": text}, files


def _pixtral() -> tuple[str, dict[str, Any], dict[str, Any]]:
    picture, config, files = _mistral3()
    files["processor_config.json"] = {"patch_size": 4}
    files["preprocessor_config.json"]["patch_size"] = {"height": 4, "width": 4}
    return picture, config, files


FAMILIES = {
    "gemma3": _gemma3,
    "pixtral": _pixtral,
    "idefics3": lambda: _idefics("idefics3", "Idefics3"),
    "llava": _llava,
    "mistral3": _mistral3,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "smolvlm": lambda: _idefics("smolvlm", "SmolVLM"),
}


def make_tiny_vlm(folder: Path, family: str = "qwen2_5_vl", seed: int = 0) -> Path:
    """Writes a model of that family into ``folder``; the same seed gives the same weights."""
    picture, config, files = FAMILIES[family]()
    config |= {"model_type": family, "eos_token_id": [0, tiny.END_OF_TURN], "bos_token_id": 0}
    if "vision_config" in config:
        config["vision_config"] = {"model_type": family} | config["vision_config"]
    tokenizer = tiny.tokenizer(tiny.SPECIALS)
    tokenizer["added_tokens"] += [_special(mark, id) for mark, id in ID.items()]
    folder.mkdir(parents=True, exist_ok=True)
    told = tiny._tokenizer_config(CONTEXT, _chat(picture))
    written = files | {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": told | files.get("tokenizer_config.json", {}),
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False))
    weights = _weights(family, config, seed)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def _special(mark: str, id: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": mark, "special": True, **flags}


def _chat(picture: str) -> str:
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for part in m['content'] %}{% if part['type'] == 'image' %}" + picture + "{% else %}"
        "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def _weights(family: str, config: dict[str, Any], seed: int) -> dict[str, mx.array]:
    """Random for matrices; mlx-vlm's own model says which there are."""
    from mlx_vlm.utils import update_module_configs

    module = import_module(f"mlx_vlm.models.{family}")
    config = json.loads(json.dumps(config))
    shape = module.ModelConfig.from_dict(config)
    shape = update_module_configs(shape, module, {"text_config": {}} | config, ["text", "vision"])
    rng = np.random.default_rng(seed)
    mx.random.seed(seed)  # mlx-vlm draws what is no matrix, when the model is made.
    return {
        name: _random(family, name, value, rng)
        for name, value in tree_flatten(module.Model(shape).parameters())
    }


def _random(family: str, name: str, value: mx.array, rng: np.random.Generator) -> mx.array:
    is_gemma = family == "gemma3" and name.startswith("language_model")
    if value.ndim < 2:
        # Gemma's norms scale by one more than their weight.
        return mx.zeros_like(value) if is_gemma else value.astype(mx.float32)
    scale = 8.0 if "embed_tokens" in name else 4.0 if "lm_head" in name else 2.0
    if is_gemma and "embed_tokens" in name:
        scale = 0.25  # Its head is the same matrix: a loud one would only repeat its input.
    spread = scale / np.sqrt(np.prod(value.shape[1:]))
    drawn = (rng.standard_normal(value.shape) * spread).astype(np.float32)
    if "lm_head" in name or (is_gemma and "embed_tokens" in name):
        drawn[: tiny.FIRST_ORDINARY] = 0.0  # As in ``tiny``: no answer ends by chance.
    if "lm_head" in name:
        drawn[list(ID.values())] = 0.0  # One of them ends a turn.
    return mx.array(drawn)


if __name__ == "__main__":
    print(make_tiny_vlm(Path(sys.argv[1]), *sys.argv[2:]))
