"""What a model folder holds: a model that generates, that embeds, or that ranks."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from services.runner.models.paths import is_inside

Kind = Literal["generator", "embedder", "reranker"]

ENCODERS = frozenset(
    ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "modernbert")
)
"""Model types whose tokens see one another both ways, and that are read here."""
_EMBEDS = re.compile(r"embed(der|ders|ding|dings)?(?![a-z])")
_RANKS = re.compile(r"rerank")


def kind_of(folder: Path, id: str) -> Kind:
    """By its files first, by its name where they leave it open.

    A language model that was trained to embed has the files of sentence-transformers
    beside it or, once it was converted, nothing but its name; the same goes for one
    that ranks.
    """
    config = read_json(transformer_of(folder) / "config.json")
    name = id.rpartition("/")[2].lower()
    if architecture_of(config).endswith("ForSequenceClassification"):
        return "reranker"
    if not is_encoder(config) and (_RANKS.search(name) or _is_cross_encoder(folder)):
        return "reranker"
    if has_recipe(folder) or is_encoder(config) or _EMBEDS.search(name):
        return "embedder"
    return "generator"


def has_recipe(folder: Path) -> bool:
    """True where sentence-transformers wrote down how its vectors are made."""
    files = ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json")
    return any((folder / file).exists() for file in files)


def transformer_of(folder: Path) -> Path:
    """Where config, weights and tokenizer are: the first module's folder."""
    modules = read_json(folder / "modules.json") or [{}]
    path = str(modules[0].get("path", ""))
    return folder / path if is_inside(path) else folder


def is_encoder(config: dict[str, Any]) -> bool:
    known = config.get("model_type") in ENCODERS
    return known or architecture_of(config).endswith("ForMaskedLM")


def architecture_of(config: dict[str, Any]) -> str:
    return str(next(iter(config.get("architectures") or ()), ""))


def read_json(path: Path) -> Any:
    """An empty object where there is no such file, or none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _is_cross_encoder(folder: Path) -> bool:
    described = read_json(folder / "config_sentence_transformers.json")
    return bool(described.get("model_type") == "CrossEncoder")
