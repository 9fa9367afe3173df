"""A tiny random llama, made on the spot: the real engine's path at a thousandth of the size.

Knows nothing of mlx: an mlx-lm model folder is safetensors and JSON.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

VOCAB = 512
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_TURN = 2
FIRST_ORDINARY = len(SPECIALS)
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Shape(NamedTuple):
    """How a model is built: what it may be split by."""

    family: Literal["llama", "qwen2"] = "llama"
    """mlx-lm gives a qwen2's layers to several ranks one by one, too; a llama's it only splits."""
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 128

    @property
    def hidden(self) -> int:
        return HEAD_SIZE * self.heads


HEAD_SIZE = 16
PLAIN = Shape()


def make_tiny(
    folder: Path,
    seed: int = 0,
    context_length: int = 8192,
    *,
    markers: tuple[str, ...] = (),
    template: str = TEMPLATE,
    shape: Shape = PLAIN,
) -> Path:
    """Writes the model into ``folder``; the same seed gives the same weights on any machine.

    ``markers`` are tokens of their own at the vocabulary's end, as reasoners have them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(seed, shape), folder / "model.safetensors", metadata={"format": "mlx"})
    for name, content in {
        "config.json": _config(context_length, shape),
        "generation_config.json": {"eos_token_id": [0, END_OF_TURN]},
        "tokenizer.json": tokenizer(SPECIALS, markers=markers),
        "tokenizer_config.json": _tokenizer_config(context_length, template),
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False))
    return folder


def _weights(seed: int, shape: Shape) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        spread = scale / np.sqrt(columns)
        return (rng.standard_normal((rows, columns)) * spread).astype(np.float32)

    hidden, feed_forward, known = shape.hidden, shape.feed_forward, HEAD_SIZE * shape.kv_heads
    ones = np.ones(hidden, np.float32)
    weights = {"model.embed_tokens.weight": matrix(VOCAB, hidden, 8.0), "model.norm.weight": ones}
    for layer in range(shape.layers):
        # Strong attention, so that an answer depends on all of its prompt and is not one loop.
        weights |= {
            f"model.layers.{layer}.{name}.weight": value
            for name, value in {
                "self_attn.q_proj": matrix(hidden, hidden, 2.0),
                "self_attn.k_proj": matrix(known, hidden, 2.0),
                "self_attn.v_proj": matrix(known, hidden, 4.0),
                "self_attn.o_proj": matrix(hidden, hidden, 4.0),
                "mlp.gate_proj": matrix(feed_forward, hidden, 2.0),
                "mlp.up_proj": matrix(feed_forward, hidden, 2.0),
                "mlp.down_proj": matrix(hidden, feed_forward, 2.0),
                "input_layernorm": ones,
                "post_attention_layernorm": ones,
            }.items()
        }
        if shape.family == "qwen2":
            weights |= {
                f"model.layers.{layer}.self_attn.{name}_proj.bias": np.zeros(size, np.float32)
                for name, size in {"q": hidden, "k": known, "v": known}.items()
            }
    head = matrix(VOCAB, hidden, 4.0)
    head[:FIRST_ORDINARY] = 0.0  # A logit of zero never wins: no answer ends by chance.
    return weights | {"lm_head.weight": head}


def _config(context_length: int, shape: Shape) -> dict[str, Any]:
    return {
        "model_type": shape.family,
        "architectures": [f"{shape.family.capitalize()}ForCausalLM"],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.feed_forward,
        "vocab_size": VOCAB,
        "max_position_embeddings": context_length,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "eos_token_id": [0, END_OF_TURN],
    }


def _byte_letters() -> list[str]:
    """The letter by which byte-level BPE writes each byte: itself where printable."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    strange = iter(range(256, 512))
    return [chr(byte if byte in printable else next(strange)) for byte in range(256)]


def _merges(room: int) -> list[tuple[str, str]]:
    """Frequent English pairs first, then any two small letters, until the vocabulary is full."""
    space = _byte_letters()[32]
    letters = "etaoinshrdlucmfwygpb"
    pairs = [(space, letter) for letter in letters] + [
        (first, second) for first in letters for second in letters
    ]
    return pairs[:room]


def tokenizer(
    specials: Sequence[str], words: Sequence[str] = (), markers: Sequence[str] = ()
) -> dict[str, Any]:
    """Bytes and pairs of letters; ``words`` are tokens, too, and so are ``markers``, at the end."""
    spelt = [(word[:end], word[end]) for word in words for end in range(1, len(word))]
    plain = _merges(VOCAB - 256 - len(specials) - len(markers))
    merges = [*(pair for pair in plain if pair not in spelt), *spelt]
    merges = merges[len(merges) - len(plain) :]
    pieces = [*specials, *_byte_letters(), *(first + second for first, second in merges)]
    added = [*enumerate(specials), *enumerate(markers, start=len(pieces))]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": content in specials,
            }
            for id, content in added
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {piece: id for id, piece in enumerate(pieces)},
            "merges": [list(pair) for pair in merges],
        },
    }


def _tokenizer_config(context_length: int, template: str) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[2],
        "pad_token": SPECIALS[0],
        "chat_template": template,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }


if __name__ == "__main__":
    print(make_tiny(Path(sys.argv[1]), shape=Shape("llama", *map(int, sys.argv[2:]))))
