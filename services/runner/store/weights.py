"""What a model's weights take in memory, by the headers of its safetensors files alone."""

import struct
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

MOST_HEADER_BYTES = 100 << 20
"""The format's own limit."""
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_FLOATS = ("F64", "F32", "F16", "BF16")
_NARROW = ("F16", "BF16", "F8_E4M3", "F8_E5M2")
_SCALES = ("scales", "weight_scale", "weight_scale_inv")
_CANDIDATES = (64, 32, 128, 16)
"""Group sizes that mlx packs with, the usual one first."""


class _Description(Struct, frozen=True):
    dtype: str
    shape: tuple[Annotated[int, Meta(ge=0)], ...]


_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DESCRIPTION = msgspec.json.Decoder(_Description)


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """In bytes, as stored."""
        return self.numbers * _BYTES.get(self.dtype, 4)


Tensors = Mapping[str, Tensor]


def read_tensors(files: Iterable[Path]) -> dict[str, Tensor]:
    """Of all shards together. Raises OSError and ValueError for what is no safetensors file."""
    return {name: tensor for file in files for name, tensor in _read_header(file).items()}


def _read_header(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else MOST_HEADER_BYTES
        if length >= MOST_HEADER_BYTES:
            raise ValueError(f"{file} is no safetensors file")
        header = opened.read(length)
    try:
        described = _HEADER.decode(header)
        return {
            name: Tensor(told.dtype, told.shape)
            for name, said in described.items()
            if name != "__metadata__" and (told := _DESCRIPTION.decode(said))
        }
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no safetensors file: {error}") from error


def weights_bytes(tensors: Tensors, config: Mapping[str, Any], *, unpacks: bool) -> int:
    """As an engine holds them. ``unpacks``: a CPU's engine has float32 throughout."""
    kept = {name: tensor for name, tensor in tensors.items() if not _is_left_out(name, config)}
    if not unpacks:
        return sum(tensor.size for tensor in kept.values())
    return sum(_unpacked(name, tensor, kept, config) for name, tensor in kept.items())


def float_bytes(tensors: Tensors) -> int:
    """Of one number of the activations.

    They are as wide as the embedding and the widest norm make them: one float32 norm, as in what
    came out of GGUF, and all caches are float32.
    """
    names = (name for name in tensors if "norm" in name or "embed" in name)
    kinds = {tensors[name].dtype for name in names if tensors[name].dtype in _FLOATS}
    is_wide = not kinds <= {"F16", "BF16"} or len(kinds) == 2  # Of both together comes float32.
    return 4 if is_wide else 2


def _is_left_out(name: str, config: Mapping[str, Any]) -> bool:
    """What files carry and mlx-lm drops: heads that are the embedding again, drafting layers."""
    is_head = name.startswith(("lm_head.", "language_model.lm_head."))
    is_again = is_head and bool(config.get("tie_word_embeddings"))
    return is_again or name.startswith(("mtp.", "model.mtp")) or name.endswith(".inv_freq")


def _unpacked(name: str, tensor: Tensor, all_: Tensors, config: Mapping[str, Any]) -> int:
    layer, _, part = name.rpartition(".")
    scales = all_.get(f"{layer}.scales")
    if scales is not None and part in ("weight", "scales", "biases"):
        is_weight = part == "weight"
        return 4 * scales.numbers * _group_size(layer, tensor, scales, config) if is_weight else 0
    if part in _SCALES or name.endswith("_scales"):
        return 0
    if part == "qweight":  # AWQ and GPTQ
        bits = (config.get("quantization_config") or {}).get("bits", 4)
        return 4 * tensor.numbers * 32 // int(bits)
    if name.endswith("_blocks"):  # mxfp4 as gpt-oss is published: two numbers a byte
        return 8 * tensor.numbers
    return 4 * tensor.numbers if tensor.dtype in _NARROW else tensor.size


def _group_size(layer: str, packed: Tensor, scales: Tensor, config: Mapping[str, Any]) -> int:
    """How many numbers share a scale: as the config says, if that makes whole bits."""
    told = config.get("quantization") or config.get("quantization_config") or {}
    own = told.get(layer)
    named = [said.get("group_size") for said in (own, told) if isinstance(said, dict)]
    per_scale = packed.shape[-1] * 32 // max(1, scales.shape[-1])
    sizes = [int(size) for size in (*named, *_CANDIDATES) if size]
    return next((size for size in sizes if per_scale / size in (2, 3, 4, 5, 6, 8)), sizes[0])
