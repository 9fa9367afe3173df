"""Whether a folder holds a whole model: half a download is none."""

from pathlib import Path

from services.runner.kind import read_json, transformer_of

TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
    "tiktoken.model", "tekken.json", "*.tiktoken",
)  # fmt: skip
"""One of these makes a tokenizer."""


def is_whole(folder: Path) -> bool:
    """Config, a tokenizer and every shard of the weights are there, each with its content."""
    inner = transformer_of(folder)
    is_configured = (inner / "config.json").is_file()
    return is_configured and _has_tokenizer(inner) and bool(shards_of(inner))


def shards_of(folder: Path) -> list[Path]:
    """The files that hold the weights; empty when one of them is missing."""
    index = read_json(folder / "model.safetensors.index.json")
    named = sorted(set((index.get("weight_map") or {}).values()))
    shards = [folder / name for name in named] or sorted(folder.glob("*.safetensors"))
    return shards if all(shard.is_file() for shard in shards) else []


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for name in TOKENIZERS for file in folder.glob(name))
