"""Tiny random models that read: encoders, cross-encoders, and language models that embed or rank.

As transformers and sentence-transformers write them, so that these can say what should come out.
Knows nothing of mlx. The same seed gives the same weights on any machine.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.tiny import tokenizer as plain_tokenizer

HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS = 32, 3, 4, 48, 66
CLS, SEP, PAD = "<s>", "</s>", "<pad>"
SPECIALS = (CLS, PAD, SEP)
"""Ids 0, 1 and 2, as RoBERTa has them."""
VOCAB = 512

Arrays = dict[str, NDArray[np.float32]]
FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert")


def make_encoder(folder: Path, family: str, pooling: str | None = None, **config: Any) -> Path:
    """An embedder; with ``pooling``, sentence-transformers' own files are beside it."""
    _write(folder, _config(family) | config, _encoder(family))
    if pooling is not None:
        add_recipe(folder, pooling)
    return folder


def make_cross_encoder(folder: Path, family: str, labels: int = 1, **config: Any) -> Path:
    names = {str(label): f"LABEL_{label}" for label in range(labels)}
    described = _config(family) | {
        "architectures": [_ARCHITECTURES[family] + "ForSequenceClassification"],
        "id2label": names,
        "label2id": {name: int(label) for label, name in names.items()},
    }
    prefix = {"xlm-roberta": "roberta.", "modernbert": "model."}.get(family, f"{family}.")
    weights = {prefix + name: value for name, value in _encoder(family).items()}
    _write(folder, described | config, weights | _classifier(family, labels))
    return folder


def make_causal(folder: Path, is_bare: bool = False, pooling: str | None = None) -> Path:
    """A Qwen3; ``is_bare``: saved without its head, as embedders are published."""
    _write(folder, _qwen3_config(), _qwen3("" if is_bare else "model."), _WITH_END)
    if pooling is not None:
        add_recipe(folder, pooling)
    return folder


def add_recipe(
    folder: Path, pooling: str, prompts: dict[str, str] | None = None, dense: int | None = None
) -> None:
    """``dense``: so many numbers come out of a layer behind the pooling."""
    modules = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    listed = []
    for place, kind in enumerate(modules):
        path = f"{place}_{kind}" if place else ""
        listed.append(
            {"idx": place, "name": str(place), "path": path,
             "type": f"sentence_transformers.models.{kind}"}
        )  # fmt: skip
        (folder / path).mkdir(exist_ok=True)
    size = json.loads((folder / "config.json").read_text()).get("hidden_size", HIDDEN)
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean",
             "pooling_mode_max_tokens": "max", "pooling_mode_mean_sqrt_len_tokens": "root",
             "pooling_mode_weightedmean_tokens": "weightedmean",
             "pooling_mode_lasttoken": "lasttoken"}  # fmt: skip
    named = {flag: way in pooling.split("+") for flag, way in flags.items()}
    _json(folder / "modules.json", listed)
    _json(folder / "1_Pooling/config.json", {"word_embedding_dimension": size} | named)
    _json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts or {}, "default_prompt_name": None},
    )
    if dense:
        activation = "torch.nn.modules.activation.Tanh"
        _json(
            folder / "2_Dense/config.json",
            {"in_features": size, "out_features": dense, "bias": True,
             "activation_function": activation},
        )  # fmt: skip
        layer = {"linear.weight": _matrix("dense", dense, size), "linear.bias": _bias("db", dense)}
        save_file(layer, folder / "2_Dense/model.safetensors")


# Weights, under the names of transformers


def _encoder(family: str) -> Arrays:
    if family == "modernbert":
        return _modernbert()
    names = _NAMES.get(family, _NAMES["bert"])
    types = {"bert": 2, "roberta": 1, "xlm-roberta": 1}.get(family, 0)
    weights = {
        "embeddings.word_embeddings.weight": _matrix("words", VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": _matrix("positions", POSITIONS, HIDDEN),
        **_norm("embeddings.LayerNorm"),
    }
    if types:
        weights["embeddings.token_type_embeddings.weight"] = _matrix("types", types, HIDDEN)
    if family == "mpnet":
        weights["encoder.relative_attention_bias.weight"] = _matrix("distances", 32, HEADS, 4.0)
    stem = "transformer" if family == "distilbert" else "encoder"
    for layer in range(LAYERS):
        at = f"{stem}.layer.{layer}."
        for name in names[:4]:
            weights |= _linear(at + name, HIDDEN, HIDDEN)
        weights |= _norm(at + names[4])
        weights |= _linear(at + names[5], FEED_FORWARD, HIDDEN)
        weights |= _linear(at + names[6], HIDDEN, FEED_FORWARD)
        weights |= _norm(at + names[7])
    return weights


_NAMES = {
    "bert": (
        "attention.self.query", "attention.self.key", "attention.self.value",
        "attention.output.dense", "attention.output.LayerNorm",
        "intermediate.dense", "output.dense", "output.LayerNorm",
    ),
    "mpnet": (
        "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o",
        "attention.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
    ),
    "distilbert": (
        "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
        "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm",
    ),
}  # fmt: skip


def _modernbert() -> Arrays:
    weights = {
        "embeddings.tok_embeddings.weight": _matrix("words", VOCAB, HIDDEN),
        "embeddings.norm.weight": _scale("embeddings.norm"),
        "final_norm.weight": _scale("final_norm"),
    }
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        weights |= {
            f"{at}attn.Wqkv.weight": _matrix(f"{at}qkv", 3 * HIDDEN, HIDDEN, 2.0),
            f"{at}attn.Wo.weight": _matrix(f"{at}o", HIDDEN, HIDDEN),
            f"{at}mlp.Wi.weight": _matrix(f"{at}i", 2 * FEED_FORWARD, HIDDEN),
            f"{at}mlp.Wo.weight": _matrix(f"{at}mo", HIDDEN, FEED_FORWARD),
            f"{at}mlp_norm.weight": _scale(f"{at}mlp_norm"),
        }
        if layer:
            weights[f"{at}attn_norm.weight"] = _scale(f"{at}attn_norm")
    return weights


def _classifier(family: str, labels: int) -> Arrays:
    match family:
        case "bert":
            dense = _linear("bert.pooler.dense", HIDDEN, HIDDEN)
            return dense | _linear("classifier", labels, HIDDEN)
        case "distilbert":
            return _linear("pre_classifier", HIDDEN, HIDDEN) | _linear("classifier", labels, HIDDEN)
        case "modernbert":
            return {
                "head.dense.weight": _matrix("head", HIDDEN, HIDDEN),
                "head.norm.weight": _scale("head.norm"),
                **_linear("classifier", labels, HIDDEN),
            }
        case _:
            dense = _linear("classifier.dense", HIDDEN, HIDDEN)
            return dense | _linear("classifier.out_proj", labels, HIDDEN)


def _qwen3(prefix: str) -> Arrays:
    size = HIDDEN // HEADS
    weights = {
        f"{prefix}embed_tokens.weight": _matrix("words", VOCAB, HIDDEN, 4.0),
        f"{prefix}norm.weight": _scale("norm"),
    }
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        shapes = {
            "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (2 * size, HIDDEN),
            "self_attn.v_proj": (2 * size, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (FEED_FORWARD, HIDDEN), "mlp.up_proj": (FEED_FORWARD, HIDDEN),
            "mlp.down_proj": (HIDDEN, FEED_FORWARD),
        }  # fmt: skip
        for name, (rows, columns) in shapes.items():
            weights[f"{at}{name}.weight"] = _matrix(f"{layer}{name}", rows, columns, 2.0)
        for name in ("self_attn.q_norm", "self_attn.k_norm"):
            weights[f"{at}{name}.weight"] = _scale(f"{layer}{name}", size)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}{name}.weight"] = _scale(f"{layer}{name}")
    return weights


def _matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Its own seed, so that a weight is the same whatever stands beside it."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (rng.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)


def _bias(name: str, size: int) -> NDArray[np.float32]:
    return _matrix(name, 1, size)[0]


def _scale(name: str, size: int = HIDDEN) -> NDArray[np.float32]:
    return 1 + 0.1 * _matrix(name, size, 1)[:, 0]


def _linear(name: str, rows: int, columns: int) -> Arrays:
    return {
        f"{name}.weight": _matrix(name, rows, columns, 2.0),
        f"{name}.bias": _bias(f"{name}.bias", rows),
    }


def _norm(name: str) -> Arrays:
    return {f"{name}.weight": _scale(name), f"{name}.bias": _bias(f"{name}.bias", HIDDEN)}


# Configs


_ARCHITECTURES = {
    "bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert", "mpnet": "MPNet", "modernbert": "ModernBert",
}  # fmt: skip


def _config(family: str) -> dict[str, Any]:
    common = {
        "model_type": family,
        "architectures": [_ARCHITECTURES[family] + "Model"],
        "vocab_size": VOCAB,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 1,
        "torch_dtype": "float32",
    }
    if family == "distilbert":
        sizes: dict[str, Any] = {
            "dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": FEED_FORWARD,
            "activation": "gelu",
        }  # fmt: skip
        return common | sizes
    sizes = {
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": FEED_FORWARD,
    }  # fmt: skip
    if family == "modernbert":
        local = {"local_attention": 8, "global_attn_every_n_layers": 3, "cls_token_id": 0}
        return common | sizes | local | {"bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    types = {"type_vocab_size": 2 if family == "bert" else 1}
    return common | sizes | types | {"hidden_act": "gelu", "layer_norm_eps": 1e-5}


def _qwen3_config() -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": HIDDEN // HEADS,
        "intermediate_size": FEED_FORWARD,
        "vocab_size": VOCAB,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }


# Tokenizer: the tiny llama's, with special tokens around a text


def _special(token: str, kind: int = 0) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": kind}}


def _text(name: str, kind: int = 0) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": kind}}


_AROUND = (
    [_special(CLS), _text("A"), _special(SEP)],
    [_special(CLS), _text("A"), _special(SEP), _text("B", 1), _special(SEP, 1)],
)
_WITH_END = ([_text("A"), _special(SEP)], [_text("A"), _text("B"), _special(SEP)])


def _tokenizer(around: tuple[list[Any], list[Any]]) -> dict[str, Any]:
    described = plain_tokenizer(SPECIALS, words=("yes", "no"))
    described["post_processor"] = {
        "type": "TemplateProcessing",
        "single": around[0],
        "pair": around[1],
        "special_tokens": {
            token: {"id": token, "ids": [id], "tokens": [token]}
            for id, token in enumerate(SPECIALS)
        },
    }
    # As some are published: both would falsify what is read, unless they are taken off.
    described["truncation"] = {
        "max_length": 16, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
    }  # fmt: skip
    described["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": PAD,
    }  # fmt: skip
    return described


def _write(
    folder: Path,
    config: dict[str, Any],
    weights: Arrays,
    around: tuple[list[Any], list[Any]] = _AROUND,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _json(folder / "config.json", config)
    _json(folder / "tokenizer.json", _tokenizer(around))
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "cls_token": CLS,
            "sep_token": SEP,
            "pad_token": PAD,
            "eos_token": SEP,
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]
            if config["model_type"] == "bert"
            else ["input_ids", "attention_mask"],
        },
    )


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False))


if __name__ == "__main__":
    print(make_encoder(Path(sys.argv[1]), sys.argv[2], "mean"))
