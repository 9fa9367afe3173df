"""From a model folder to a reader that can run. On the thread that will run it, as all of mlx."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.quantized import quantize
from mlx_lm.utils import _get_classes as classes_of
from mlx_lm.utils import load_config, load_model
from msgspec.structs import replace
from tokenizers import Tokenizer

from proto.presence import ModelCard
from services.runner.engine.diagnosis import diagnosed, expect_numbers
from services.runner.engine.embedding import bert, modernbert, score
from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.reader import (
    CausalReader,
    EncoderReader,
    Reader,
)
from services.runner.engine.embedding.recipe import Pooling, Recipe, most_tokens, read_recipe
from services.runner.engine.embedding.row import Row
from services.runner.engine.embedding.rows import (
    CrossEncoderPairs,
    PairRows,
    PromptedPairs,
    TextRows,
    load_tokenizer,
)
from services.runner.engine.embedding.vector import Vector
from services.runner.engine.loading import Source, card, for_cpu
from services.runner.engine.not_loadable import NotLoadable
from services.runner.models.kind import (
    ENCODERS,
    Kind,
    architecture_of,
    is_encoder,
    transformer_of,
)

Weights = dict[str, mx.array]

PROMPTED = "qwen3"
"""The model type whose instruction for ranking is known here."""
MISMATCH_CHARS = 200
"""Of the list of weights that are missing or strange: the first ones say enough."""
_LEFT_OUT = ("pooler.", "cls.", "lm_head.", "classifier.", "pre_classifier.", "vocab_", "head.")
"""What stands behind an encoder for other tasks, and costs memory only."""


@dataclass(frozen=True)
class LoadedReader:
    reader: Reader
    texts: TextRows
    pairs: PairRows | None
    """None of an embedder."""
    tokenizer: Tokenizer
    recipe: Recipe
    card: ModelCard
    vocab_size: int

    @property
    def longest(self) -> int:
        """Most tokens of a row."""
        return self.card.context_length


class _Parts(NamedTuple):
    module: Module
    """All that has weights."""
    reader: Reader
    longest: int
    size: int
    """Numbers that a row comes to."""
    pairs: PairRows | None = None


def load(source: Source, kind: Kind) -> LoadedReader:
    """Raises NotLoadable."""
    folder = transformer_of(source.folder)
    with diagnosed(source.id, source.folder), _named(source):
        config = load_config(folder)
        tokenizer = load_tokenizer(folder)
        encodes = is_encoder(config) or architecture_of(config).endswith(
            "ForSequenceClassification"
        )
        way: Pooling = "mean" if encodes else "lasttoken"
        recipe = read_recipe(source.folder, way) if kind == "embedder" else Recipe(pooling=(way,))
        parts = _parts(folder, config, kind, encodes, recipe, tokenizer)
        expect_numbers(parts.module, folder, source.id)
    described = replace(
        card(source, config, parts.module),
        kind=kind,
        context_length=min(parts.longest, most_tokens(folder) or parts.longest),
        embedding_size=parts.size if kind == "embedder" else 0,
    )
    return LoadedReader(
        reader=parts.reader,
        texts=TextRows(tokenizer, recipe.is_lower_case),
        pairs=parts.pairs,
        tokenizer=tokenizer,
        recipe=recipe,
        card=described,
        vocab_size=int(config["vocab_size"]),
    )


@contextmanager
def _named(source: Source) -> Iterator[None]:
    try:
        yield
    except NotLoadable as trouble:
        raise NotLoadable(f"{source.id} cannot be served: {trouble}") from trouble


def _parts(
    folder: Path,
    config: dict[str, Any],
    kind: Kind,
    encodes: bool,
    recipe: Recipe,
    tokenizer: Tokenizer,
) -> _Parts:
    if encodes:
        if kind == "embedder":
            return _encoder(folder, config, recipe)
        return _cross_encoder(folder, config, tokenizer)
    if config.get("is_causal") is False or config.get("use_bidirectional_attention"):
        raise NotLoadable(
            f"its tokens see one another both ways, which {config['model_type']} models "
            "do not here: choose an embedder whose attention is causal, or an encoder"
        )
    if kind == "embedder":
        return _causal_embedder(folder, recipe)
    return _causal_reranker(folder, config, tokenizer)


# Encoders


class _Whole(Module):
    """An encoder and what is behind it, as one to quantise, convert and weigh."""

    def __init__(self, encoder: Module, behind: Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.encoder = encoder
        self.behind = behind


def _encoder(folder: Path, config: dict[str, Any], recipe: Recipe) -> _Parts:
    encoder, name_of = _new_encoder(config)
    weights = {name_of(name): value for name, value in _read(folder).items()}
    _fill(encoder, _without_tasks(weights), config)
    vector = Vector(recipe, encoder.hidden)
    whole = _settled(_Whole(encoder, vector))
    reader = EncoderReader(whole.encoder, whole.behind)
    return _Parts(whole, reader, encoder.longest, vector.size)


def _cross_encoder(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> _Parts:
    encoder, name_of = _new_encoder(config)
    named = {score.name_of(name_of(name)): value for name, value in _read(folder).items()}
    labels = named["head.out.weight"].shape[0]
    if labels != 1:
        raise NotLoadable(
            f"it tells {labels} classes apart and so ranks nothing: choose a model with one label"
        )
    head = score.CrossEncoderHead(config, encoder.hidden)
    _fill(head, {n[5:]: value for n, value in named.items() if n.startswith("head.")}, config)
    _fill(encoder, _without_tasks(named), config)
    whole = _settled(_Whole(encoder, head))
    reader = EncoderReader(whole.encoder, whole.behind)
    return _Parts(whole, reader, encoder.longest, 1, CrossEncoderPairs(tokenizer))


def _new_encoder(config: dict[str, Any]) -> tuple[Any, Callable[[str], str]]:
    kind = config["model_type"]
    if kind not in ENCODERS:
        raise NotLoadable(
            f"its model type is {kind}, which is not known here as an encoder: choose one of "
            f"{', '.join(sorted(ENCODERS))}, or a causal language model trained to embed"
        )
    if kind == "modernbert":
        return modernbert.ModernBert(config), modernbert.name_of
    return bert.Bert(config), bert.name_of


def _read(folder: Path) -> Weights:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no safetensors in {folder}")
    weights: Weights = {}
    for file in files:
        read: Any = mx.load(str(file))
        weights |= read
    return weights


def _without_tasks(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if not name.startswith(_LEFT_OUT)}


def _fill(module: Module, weights: Weights, config: dict[str, Any]) -> None:
    """Raises NotLoadable when a weight is missing or has no place."""
    weights.pop("embeddings.position_ids", None)
    packing = config.get("quantization")
    if packing:
        quantize(
            module,
            group_size=packing["group_size"],
            bits=packing["bits"],
            mode=packing.get("mode", "affine"),
            class_predicate=lambda path, _: f"{path}.scales" in weights,
        )
    try:
        module.load_weights(list(weights.items()), strict=True)
    except ValueError as mismatch:
        told = " ".join(str(mismatch).split())[:MISMATCH_CHARS]
        raise NotLoadable(
            f"its weights are not those of a {config['model_type']} model: {told}"
        ) from mismatch


def _settled(module: Any) -> Any:
    """In the form it will run in, and read from the disk."""
    module.eval()
    if not mx.metal.is_available():
        module = for_cpu(module)
    mx.eval(module.parameters())
    return module


# Language models


def _causal_embedder(folder: Path, recipe: Recipe) -> _Parts:
    model, config = load_model(folder, get_model_classes=_headless)
    model = _settled(model)
    vector = Vector(recipe, _hidden_of(model))
    whole = _Whole(model, vector)
    reader = CausalReader(model, vector)
    return _Parts(whole, reader, _positions(config), vector.size)


def _causal_reranker(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> _Parts:
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    if config["model_type"] != PROMPTED or yes is None or no is None:
        raise NotLoadable(
            f"how a {config['model_type']} model is to be asked to rank is not known here: choose "
            "one of the Qwen3-Reranker family, or a cross-encoder"
        )
    model, config = load_model(folder)
    model = _settled(model)
    reader = CausalReader(model, score.YesOrNo(model, yes, no))
    return _Parts(model, reader, _positions(config), 1, PromptedPairs(tokenizer))


def _headless(config: dict[str, Any]) -> tuple[type[Module], Any]:
    """mlx-lm's model without the head that nobody needs.

    Embedders are published with their weights named as those of the bare model, or of
    the whole one.
    """
    config["tie_word_embeddings"] = True
    whole, arguments = classes_of(config)

    class Headless(whole):  # type: ignore[misc, valid-type]
        def sanitize(self, weights: Weights) -> Weights:
            named = {
                name if name.startswith(("model.", "lm_head.")) else f"model.{name}": value
                for name, value in weights.items()
            }
            if hasattr(whole, "sanitize"):
                named = super().sanitize(named)
            return {n: value for n, value in named.items() if not n.startswith("lm_head.")}

    return Headless, arguments


def _hidden_of(model: Any) -> int:
    """Numbers of a token's state. Raises NotLoadable where mlx-lm does not give it out."""
    probe = Page.of([Row([0, 0], [0, 0])])
    try:
        states = model.model(probe.ids)
        rows, width, hidden = states.shape
    except (AttributeError, TypeError, ValueError) as closed:
        raise NotLoadable(
            f"mlx-lm does not give out the states of this model's tokens ({closed}): choose an "
            "embedder built on Qwen, Llama or Mistral"
        ) from closed
    assert (rows, width) == (1, 2), "a state for each token"
    return int(hidden)


def _positions(config: dict[str, Any]) -> int:
    return int(
        config.get("max_position_embeddings") or config["text_config"]["max_position_embeddings"]
    )
