"""A tiny random llama, made on the spot: the real engine's path at a thousandth of the size.

Knows nothing of mlx: an mlx-lm model folder is safetensors and JSON.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

LAYERS, HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, VOCAB = 2, 64, 4, 2, 128, 512
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


def make_tiny(
    folder: Path,
    seed: int = 0,
    context_length: int = 8192,
    *,
    markers: tuple[str, ...] = (),
    template: str = TEMPLATE,
) -> Path:
    """Writes the model into ``folder``; the same seed gives the same weights on any machine.

    ``markers`` are tokens of their own at the vocabulary's end, as reasoners have them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(seed), folder / "model.safetensors", metadata={"format": "mlx"})
    for name, content in {
        "config.json": _config(context_length),
        "generation_config.json": {"eos_token_id": [0, END_OF_TURN]},
        "tokenizer.json": tokenizer(SPECIALS, markers=markers),
        "tokenizer_config.json": _tokenizer_config(context_length, template),
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False))
    return folder


def _weights(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        spread = scale / np.sqrt(columns)
        return (rng.standard_normal((rows, columns)) * spread).astype(np.float32)

    ones = np.ones(HIDDEN, np.float32)
    head_size = HIDDEN // HEADS
    weights = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN, 8.0), "model.norm.weight": ones}
    for layer in range(LAYERS):
        # Strong attention, so that an answer depends on all of its prompt and is not one loop.
        weights |= {
            f"model.layers.{layer}.{name}.weight": value
            for name, value in {
                "self_attn.q_proj": matrix(HIDDEN, HIDDEN, 2.0),
                "self_attn.k_proj": matrix(KV_HEADS * head_size, HIDDEN, 2.0),
                "self_attn.v_proj": matrix(KV_HEADS * head_size, HIDDEN, 4.0),
                "self_attn.o_proj": matrix(HIDDEN, HIDDEN, 4.0),
                "mlp.gate_proj": matrix(FEED_FORWARD, HIDDEN, 2.0),
                "mlp.up_proj": matrix(FEED_FORWARD, HIDDEN, 2.0),
                "mlp.down_proj": matrix(HIDDEN, FEED_FORWARD, 2.0),
                "input_layernorm": ones,
                "post_attention_layernorm": ones,
            }.items()
        }
    head = matrix(VOCAB, HIDDEN, 4.0)
    head[:FIRST_ORDINARY] = 0.0  # A logit of zero never wins: no answer ends by chance.
    return weights | {"lm_head.weight": head}


def _config(context_length: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "intermediate_size": FEED_FORWARD,
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
    print(make_tiny(Path(sys.argv[1])))
