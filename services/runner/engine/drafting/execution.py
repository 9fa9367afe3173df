"""A model's passes with a draft beside it."""

import logging
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx_lm.models.cache import make_prompt_cache

from proto.presence import Drafting
from services.runner.engine.batching.chunk import Chunk
from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.caching.prefix_cache import is_plain
from services.runner.engine.caching.radix_cache import token_bytes
from services.runner.engine.drafting.decoding import Count, DraftingDecoder
from services.runner.engine.drafting.drafter import Drafter
from services.runner.engine.drafting.fitting import expect_same_vocabulary
from services.runner.engine.drafting.worth import Measured, Worth
from services.runner.engine.loading import LoadedModel, load
from services.runner.models.names import id_of

log = logging.getLogger(__name__)


class DraftedExecution(Execution):
    """By this process, which has both models whole."""

    def __init__(self, loaded: LoadedModel, draft: LoadedModel, worth: Worth | None = None) -> None:
        super().__init__(loaded)
        self._drafter = Drafter(draft)
        self._drafter.warm()
        self._worth = worth or Measured()
        self._count = Count()
        self._decoder: DraftingDecoder | None = None
        own, beside = _size(loaded.model), _size(draft.model)
        self._width = own.width
        self._share = beside.token_bytes / (own.token_bytes + beside.token_bytes)
        """Of the memory for KV caches, what the draft's may take."""

    @property
    def drafting(self) -> Drafting:
        can_guess = self._decoder is None or self._decoder.can_guess
        return Drafting(
            model=self._drafter.card.id,
            ahead=self._worth.ahead if can_guess else 0,
            trouble="" if can_guess else "it failed: the engine's log says how",
            guessed_tokens=self._count.guessed,
            accepted_tokens=self._count.accepted,
            acceptance=self._worth.acceptance,
            speedup=self._worth.speedup,
        )

    def prefixes(self, limit_bytes: int) -> Prefixes:
        self._drafter.resize(int(self._share * limit_bytes))
        return super().prefixes(limit_bytes)

    def decoder(self, slots: int) -> Decoder:
        """A new one: what the draft has read may be what failed the one before."""
        self._drafter.forget()
        loaded = self.loaded
        self._decoder = DraftingDecoder(
            loaded.model,
            loaded.tokenizer.eos_token_ids,
            slots,
            self._width,
            self._drafter,
            self._worth,
            self._count,
        )
        return self._decoder

    def read(self, chunk: Chunk) -> mx.array | None:
        if self._decoder is not None:
            self._decoder.disturb()
        return super().read(chunk)


class _Size(NamedTuple):
    token_bytes: int
    """What a token takes in its KV cache."""
    width: int
    """Of its logits."""


def _size(model: Module) -> _Size:
    """Measured, by reading a token."""
    cache = make_prompt_cache(model)
    logits: mx.array = model(mx.array([[0]]), cache=cache)
    mx.eval(logits)
    return _Size(token_bytes(cache), logits.shape[-1])


class _Undrafted(Execution):
    """A draft was wanted and is of no use."""

    def __init__(self, loaded: LoadedModel, drafting: Drafting) -> None:
        super().__init__(loaded)
        self._drafting = drafting

    @property
    def drafting(self) -> Drafting:
        return self._drafting


def with_draft(source: str, draft: str, home: Path, *, trusts_code: bool = False) -> Execution:
    """Of two models that are loaded now. Raises NotLoadable."""
    loaded = load(source, home, trusts_code=trusts_code)
    if not is_plain(loaded.model):
        why = f"{loaded.card.id} cannot take back what it has read"
        log.warning("%s is not loaded as a draft: %s", draft, why)
        return _Undrafted(loaded, Drafting(model=id_of(draft), trouble=why))
    guessing = load(draft, home, trusts_code=trusts_code)
    expect_same_vocabulary(loaded, guessing)
    if not is_plain(guessing.model):
        why = f"{guessing.card.id} cannot take back what it has read"
        log.warning("%s is of no use as a draft: %s", draft, why)
        return _Undrafted(loaded, Drafting(model=guessing.card.id, trouble=why))
    return DraftedExecution(loaded, guessing)
