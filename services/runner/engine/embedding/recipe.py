"""How a model's vectors are made of its tokens' states, as sentence-transformers writes it down.

The files: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from services.runner.engine.not_loadable import NotLoadable
from services.runner.models.kind import read_json, transformer_of

log = logging.getLogger(__name__)

Pooling = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
_FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Older files have a flag for each way; the parts of a vector stand in this order."""
_UNBOUNDED = 1_000_000
"""Tokenizers without a limit say a number far beyond this."""


@dataclass(frozen=True)
class Dense:
    """A linear layer over the pooled vector."""

    folder: Path
    activation: Literal["Identity", "Tanh"]


@dataclass(frozen=True)
class Recipe:
    pooling: tuple[Pooling, ...]
    """More than one: their vectors one after the other."""
    steps: tuple[Dense | Literal["normalize"], ...] = ()
    """What becomes of the pooled vector, in order."""
    prompts: dict[str, str] = field(default_factory=dict)
    """What a text of a kind begins with, such as a ``query``."""
    default_prompt: str = ""
    """What a text of no named kind begins with."""
    is_lower_case: bool = False
    """Texts are made lower case before the tokenizer sees them."""


def read_recipe(folder: Path, otherwise: Pooling) -> Recipe:
    """``otherwise`` is how tokens are pooled where no file says so. Raises NotLoadable."""
    described = read_json(folder / "config_sentence_transformers.json")
    prompts = {name: str(text) for name, text in (described.get("prompts") or {}).items()}
    default = prompts.get(described.get("default_prompt_name") or "", "")
    pooling, steps = _modules(folder, otherwise, bool(default))
    return Recipe(
        pooling=pooling,
        steps=steps,
        prompts=prompts,
        default_prompt=default,
        is_lower_case=any(
            file.get("do_lower_case") is True for file in _sentence_files(transformer_of(folder))
        ),
    )


def most_tokens(transformer: Path) -> int | None:
    """Of a text, where the model was trained on less than it could take."""
    tokenizer = read_json(transformer / "tokenizer_config.json").get("model_max_length")
    told = [file.get("max_seq_length") for file in _sentence_files(transformer)]
    return min((int(n) for n in (tokenizer, *told) if n and n < _UNBOUNDED), default=None)


def _modules(
    folder: Path, otherwise: Pooling, has_prompt: bool
) -> tuple[tuple[Pooling, ...], tuple[Dense | Literal["normalize"], ...]]:
    pooling: tuple[Pooling, ...] = ()
    steps: list[Dense | Literal["normalize"]] = []
    for module in read_json(folder / "modules.json") or [{"type": "Pooling", "path": "1_Pooling"}]:
        path = folder / str(module.get("path", ""))
        match str(module.get("type", "")).rpartition(".")[2]:
            case "Transformer" | "Dropout":
                pass
            case "Pooling":
                pooling = _pooling(read_json(path / "config.json"), has_prompt)
            case "Dense":
                steps.append(_dense(path))
            case "Normalize":
                steps.append("normalize")
            case other:
                raise NotLoadable(
                    f"{folder.name} makes its vectors with a {other or 'nameless'} module, which "
                    "is not known here: choose an embedder of Transformer, Pooling, Dense and "
                    "Normalize modules"
                )
    if not pooling:
        log.warning("%s does not say how its tokens are pooled: taking %s", folder.name, otherwise)
    return pooling or (otherwise,), tuple(steps)


def _pooling(config: dict[str, Any], has_prompt: bool) -> tuple[Pooling, ...]:
    if has_prompt and config.get("include_prompt") is False:
        raise NotLoadable(
            "its vectors leave out the tokens of its own prompt, which is not known here: "
            "choose an embedder that pools all tokens"
        )
    named = config.get("pooling_mode")
    if named is None:
        return tuple(way for flag, way in _FLAGS.items() if config.get(flag))
    ways = (named,) if isinstance(named, str) else tuple(named)
    stranger = next((way for way in ways if way not in _FLAGS.values()), None)
    if stranger is not None:
        raise NotLoadable(f"its tokens are pooled by {stranger}, which is not known here")
    return ways


def _dense(folder: Path) -> Dense:
    config = read_json(folder / "config.json")
    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    place = config.get("module_input_name", "sentence_embedding")
    if place != "sentence_embedding" or config.get("use_residual"):
        raise NotLoadable(f"{folder.name} is no plain layer over the pooled vector")
    if name == "Tanh":
        return Dense(folder, "Tanh")
    if name == "Identity":
        return Dense(folder, "Identity")
    raise NotLoadable(f"{folder.name} ends in {name}, which is not known here: Identity or Tanh")


def _sentence_files(folder: Path) -> list[dict[str, Any]]:
    """``sentence_bert_config.json``, or of whatever model type it is named after."""
    return [read_json(path) for path in folder.glob("sentence_*_config.json")]
