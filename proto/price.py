"""What a model's tokens cost."""

from typing import Annotated

from msgspec import Meta, Struct

Usd = Annotated[float, Meta(ge=0)]


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """US dollars per million tokens. None: nobody knows, which is not the same as nothing."""

    prompt: Usd | None = None
    completion: Usd | None = None
    """Of what the model says, thoughts among it."""
    cached: Usd | None = None
    """Of a prompt's tokens that were found cached; None: as ``prompt``."""
    cache_write: Usd | None = None
    """Of a prompt's tokens that were put into the cache on request; None: as ``prompt``."""


class PriceConfig(Price, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same as an operator writes it."""

    def plain(self) -> Price:
        return Price(
            prompt=self.prompt,
            completion=self.completion,
            cached=self.cached,
            cache_write=self.cache_write,
        )
