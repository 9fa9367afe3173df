"""What a model folder says before anything is loaded, and whether it is whole."""

import shutil
from pathlib import Path
from typing import Any

from services.runner.models.kind import read_json, transformer_of
from services.runner.models.paths import is_inside

TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
    "tiktoken.model", "tekken.json", "*.tiktoken",
)  # fmt: skip
"""One of these makes a tokenizer."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.npz", "*.npy", "*.h5", "*.msgpack")
"""Weights in forms that hold Python objects, or that nothing here reads."""
DEFAULT_CONTEXT = 4096
"""For a config that says nothing of positions."""


def is_whole(folder: Path) -> bool:
    """Config, a tokenizer and every shard of the weights are there, each with its content."""
    inner = transformer_of(folder)
    is_configured = (inner / "config.json").is_file()
    return is_configured and _has_tokenizer(inner) and bool(shards_of(inner))


def only_pickled(source: str) -> list[str]:
    """The weights of a folder that has none but pickles, which can run code: nobody opens them."""
    folder = Path(source).expanduser()
    if any(folder.glob("*.safetensors")):
        return []
    return sorted(file.name for glob in PICKLES for file in folder.glob(glob))


def shards_of(folder: Path) -> list[Path]:
    """The files that hold the weights; empty when one of them is missing."""
    index = read_json(folder / "model.safetensors.index.json")
    named = sorted({str(name) for name in (index.get("weight_map") or {}).values()})
    if not all(map(is_inside, named)):
        return []
    globs = ("model*.safetensors", "*.safetensors")
    there = next(filter(None, (sorted(folder.glob(glob)) for glob in globs)), [])
    shards = [folder / name for name in named] or there
    return shards if all(shard.is_file() for shard in shards) else []


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for name in TOKENIZERS for file in folder.glob(name))


def context_length(config: dict[str, Any]) -> int:
    """Most tokens of prompt and answer together that the model was made for."""
    told = (nested(config, name) for name in ("max_position_embeddings", "n_positions"))
    return int(next(filter(None, told), DEFAULT_CONTEXT))


def nested(config: dict[str, Any], key: str) -> Any:
    """Models that also see or hear keep the language model's sizes in ``text_config``."""
    return (config.get("text_config") or {}).get(key) or config.get(key)


def draft_of(folder: Path) -> Path:
    """Where a folder is while it is written: a dot keeps it from being taken for a model."""
    return folder.with_name(f".{folder.name}.incoming")


def settle(draft: Path, folder: Path) -> None:
    """The whole folder at once, in place of an older one of that name."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    draft.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
