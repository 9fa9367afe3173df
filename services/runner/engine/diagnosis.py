"""What is wrong with a model that cannot be loaded: the file at fault, and what to do about it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from services.runner.engine.memory_lack import is_lack_of_memory
from services.runner.engine.not_loadable import NotLoadable
from services.runner.models.folder import TOKENIZERS, shards_of
from services.runner.models.kind import transformer_of

JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json",
    "special_tokens_map.json", "model.safetensors.index.json",
)  # fmt: skip
_MISFIT = re.compile("Expected shape|Missing .* parameters|Received .* parameters", re.DOTALL)
"""How mlx says that weights are not those of the model that the config describes."""
WORDS_CHARS = 300
"""Of what a library says; the first of it is enough."""


@contextmanager
def diagnosed(source: str, folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside is a NotLoadable that helps."""
    try:
        yield
    except NotLoadable:
        raise
    except Exception as failure:
        raise NotLoadable(_verdict(source, folder, failure)) from failure


def expect_numbers(model: Module, folder: Path, source: str) -> None:
    """Raises NotLoadable for weights that are not: every answer would be nonsense."""
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    for name, value in weights.items():
        is_float = mx.issubdtype(value.dtype, mx.floating)
        if is_float and not mx.all(mx.isfinite(value)).item():
            raise NotLoadable(
                f"the weights in {folder} are no numbers (NaN or infinite) in {name}: the model "
                f"was badly converted, or its files are damaged; {_anew(source)}"
            )


def _verdict(source: str, folder: Path, failure: Exception) -> str:
    if is_lack_of_memory(failure):
        return (
            f"there is not enough memory for {source} ({_words(failure)}): unload another model, "
            "or take one with fewer bits"
        )
    broken = broken_file(transformer_of(folder))
    if broken:
        return f"{broken}; {_anew(source)}"
    if _MISFIT.match(str(failure)):
        return (
            f"the weights in {folder} do not fit its config.json ({_words(failure)}): files of two "
            f"models were mixed, or this version of mlx-lm is too old for it; {_anew(source)}"
        )
    return (
        f"this version of mlx-lm cannot run {source}: {_words(failure)}; choose a model type that "
        "it lists, or update mlx-lm"
    )


def broken_file(folder: Path) -> str | None:
    """The first file that is missing or damaged, and how; None: all look well from outside."""
    config = folder / "config.json"
    if not config.is_file():
        return f"{config} is missing"
    for path in (folder / name for name in JSON_FILES):
        why = _json_trouble(path) if path.is_file() else None
        if why:
            return f"{path} is damaged ({why})"
    if "model_type" not in json.loads(config.read_bytes()):
        return f"{config} does not say its model_type"
    if not any(file.is_file() for name in TOKENIZERS for file in folder.glob(name)):
        return f"{folder} has no tokenizer: tokenizer.json is missing"
    return _weights_trouble(folder)


def _json_trouble(path: Path) -> str | None:
    try:
        read: Any = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        return str(error)
    return None if isinstance(read, dict) else "it is no object"


def _weights_trouble(folder: Path) -> str | None:
    shards = shards_of(folder)
    if not shards:
        return f"{folder} lacks weights: model.safetensors, or one of its parts, is missing"
    for shard in shards:
        try:
            with safe_open(str(shard), "np"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{shard} is cut off or damaged ({_words(error)})"
    return None


def _anew(source: str) -> str:
    if Path(source).expanduser().is_dir():
        return "copy or convert the folder anew"
    return f"fetch it anew: `odyssai rm {source}`, then `odyssai pull {source}`"


def _words(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:WORDS_CHARS]
