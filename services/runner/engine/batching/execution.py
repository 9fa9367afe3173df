"""How a batch has its model's passes made."""

import os
from pathlib import Path

import mlx.core as mx

from proto.presence import Drafting
from services.runner.engine.batching.chunk import Chunk, read
from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.prefixes import Prefixes
from services.runner.engine.caching.prefix_cache import prefix_cache
from services.runner.engine.loading import LoadedModel, load


class PassesEnd(BaseException):
    """No pass can be made in this process any more: nobody who takes care of a request's failure
    may catch it.
    """

    status = os.EX_SOFTWARE
    """With which the process ends."""


class Execution:
    """By this process, which has the whole model."""

    looks_ahead = False
    """Its decoder does better where it may promise a step."""
    rest_s: float | None = None
    """How often ``rest`` is called while nothing is to do; None: never."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    @classmethod
    def of(cls, source: str, home: Path, *, trusts_code: bool = False) -> "Execution":
        """Of a model that is loaded now. Raises NotLoadable."""
        return cls(load(source, home, trusts_code=trusts_code))

    @property
    def drafting(self) -> Drafting | None:
        """How the model that guesses for it fares; None: there is none."""
        return None

    def prefixes(self, limit_bytes: int) -> Prefixes:
        return Prefixes(prefix_cache(self.loaded.model, limit_bytes))

    def decoder(self, slots: int) -> Decoder:
        return Decoder(self.loaded.model, self.loaded.tokenizer.eos_token_ids, slots)

    def read(self, chunk: Chunk) -> mx.array | None:
        """Logits [sequences, vocabulary] of the prompts' last tokens if the chunk ends them."""
        return read(self.loaded.model, chunk)

    def rest(self) -> None:
        """Nothing is to do, and has not been for a while."""

    def end(self) -> None:
        """Nothing will be done any more."""
