"""From a name to a model that can run: the bundled one, a folder, or one of the Hugging Face hub.

Loading runs on the thread that will run the model: mlx keeps a default stream per thread.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import dequantize_model, load_model, load_tokenizer
from msgspec.structs import replace
from transformers import PreTrainedTokenizerFast

from proto.ids import ModelId
from proto.presence import ModelCard
from services.runner.engine import bundled
from services.runner.engine.calls.families import harmony
from services.runner.engine.diagnosis import diagnosed, expect_numbers
from services.runner.engine.not_loadable import NotLoadable
from services.runner.engine.text import Pieces
from services.runner.engine.vision import loading as vision
from services.runner.engine.vision.families import can_see
from services.runner.models import hub_cache
from services.runner.models.bundle import BUNDLED, BUNDLED_ALIASES, is_bundled
from services.runner.models.folder import context_length, nested
from services.runner.models.names import aliases_of, id_of, is_path

if TYPE_CHECKING:  # It needs the extra.
    from services.runner.engine.vision.eyes import Eyes

_HALF = (mx.bfloat16, mx.float16)


@dataclass(frozen=True)
class LoadedModel:
    model: Module
    tokenizer: TokenizerWrapper
    card: ModelCard
    vocab_size: int
    """Rows of the embedding: token ids are below it. The tokenizer may know fewer."""
    eyes: "Eyes | None" = None
    """How it is shown pictures; None: it does not see."""

    @cached_property
    def mask_width(self) -> int:
        """Tokens that a mask speaks of: all of the model's, and all of the tokenizer's."""
        return max(self.vocab_size, len(self.tokenizer))

    @cached_property
    def pieces(self) -> Pieces:
        return Pieces(self.tokenizer)


class Source(NamedTuple):
    """Where a model's files are, and what it is called."""

    folder: Path
    id: str
    aliases: tuple[ModelId, ...]


def load(
    source: str,
    home: Path,
    *,
    trusts_code: bool = False,
    split: Callable[[Module], Module] | None = None,
) -> LoadedModel:
    """``home`` is where the bundled model is unpacked.

    ``trusts_code``: a model's folder may hold Python that is run. ``split`` makes the model, whose
    weights are not in memory yet, into the part that is wanted of it.
    """
    located = locate(source, home)
    folder, eyes = located.folder, None
    with diagnosed(source, folder), _of_trusted_code(source):
        if can_see(folder) and split is None:
            model, config, tokenizer, eyes = vision.load(folder, trusts_code=trusts_code)
        else:
            model, config = load_model(folder, lazy=True, trust_remote_code=trusts_code)
            tokenizer = load_tokenizer(
                folder,
                {"trust_remote_code": trusts_code},
                eos_token_ids=config.get("eos_token_id"),
            )
        if not mx.metal.is_available():
            model = for_cpu(model)
        about = card(located, config, model)
        if split is not None:
            model = split(model)
        expect_numbers(model, folder, source)
        mx.eval(model.parameters())
    has_chat_template = bool(tokenizer.has_chat_template)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        card=replace(
            about,
            has_chat_template=has_chat_template,
            calls_tools=has_chat_template,
            reasons=bool(tokenizer.has_thinking) or harmony.is_spoken(tokenizer),
            keeps_formats=isinstance(tokenizer._tokenizer, PreTrainedTokenizerFast),
            kind="vlm" if eyes else "llm",
        ),
        vocab_size=int(nested(config, "vocab_size") or len(tokenizer)),
        eyes=eyes,
    )


@contextmanager
def _of_trusted_code(source: str) -> Iterator[None]:
    try:
        yield
    except vision.NoVision as blind:
        raise NotLoadable(str(blind)) from blind
    except ValueError as refused:
        if "trust_remote_code" not in str(refused):
            raise
        raise NotLoadable(
            f"{source} brings Python code of its own, which is not run unless you trust it: "
            "if you do, start with --trust-remote-code or set ODYSSAI_TRUST_REMOTE_CODE=1"
        ) from refused


def locate(source: str, home: Path) -> Source:
    """Raises NotLoadable for what is not on this machine."""
    if is_bundled(source):
        try:
            return Source(bundled.unpack(home), BUNDLED, BUNDLED_ALIASES)
        except bundled.NotBundled as absent:
            raise NotLoadable(str(absent)) from absent
    path = Path(source).expanduser()
    if path.is_dir():
        return Source(path, id_of(source), aliases_of(id_of(source)))
    if is_path(source):
        raise NotLoadable(f"there is no model folder {source}: check the path")
    return Source(_from_hub(source), source, aliases_of(ModelId(source)))


def _from_hub(id: str) -> Path:
    """The agent has fetched it: an engine never asks the hub."""
    found = hub_cache.snapshot(id)
    if found is None:
        raise NotLoadable(
            f"{id} is neither a folder nor whole in the Hugging Face cache of this machine: fetch "
            f"it with `odyssai pull {id}`, or copy the model here and name its folder"
        )
    return found.folder


def for_cpu(model: Module) -> Module:
    """float32 throughout: half precision answers nonsense here, packed weights are slow."""
    model = dequantize_model(model)
    model.apply(lambda value: value.astype(mx.float32) if value.dtype in _HALF else value)
    # Without Metal, mx.compile runs the C++ compiler for every new constant, such as a
    # top_p: half a second in which every stream stands still.
    mx.disable_compile()
    return model


def card(source: Source, config: dict[str, Any], model: Module) -> ModelCard:
    """What its files and its weights tell of a model, whatever its kind."""
    folder, id, aliases = source
    weights = dict(tree_flatten(model.parameters()))
    written = max((f.stat().st_mtime for f in folder.glob("*.safetensors")), default=time.time())
    return ModelCard(
        id=ModelId(id),
        aliases=aliases,
        context_length=context_length(config),
        family=str(config.get("model_type", "")),
        quantization=_form(config, weights),
        size_bytes=sum(value.nbytes for value in weights.values()),
        has_chat_template=False,
        created_s=int(written),
    )


def _form(config: dict[str, Any], weights: dict[str, mx.array]) -> str:
    if any(name.endswith(".scales") for name in weights):
        return f"{config['quantization']['bits']}bit"
    largest = max(weights.values(), key=lambda value: value.nbytes)
    return str(largest.dtype).removeprefix("mlx.core.")
