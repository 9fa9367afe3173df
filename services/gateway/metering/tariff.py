"""Who serves a model, and at which price."""

from msgspec import Struct

from bus.fleet import card_of, leaves
from proto.config import Config, ModelConfig
from proto.effective import price_of, value
from proto.ids import ModelId
from proto.presence import EngineBeat
from proto.price import Price, PriceConfig


class Tariff(Struct, frozen=True):
    model: ModelId
    """By its id."""
    provider: str = ""
    """Empty: an engine of the mesh's own."""
    price: Price | None = None
    leaves: bool = False
    """What it is asked leaves the local network: somebody is paid for it."""

    @property
    def is_own(self) -> bool:
        return not self.provider


def tariff(beat: EngineBeat, model: ModelId, settings: ModelConfig, config: Config) -> Tariff:
    """Of a model that this engine serves; what the operator says of its price wins.

    A provider may serve what its catalog does not have, and no card tells of.
    """
    card = card_of(beat, model)
    said: PriceConfig | None = value(settings.price, None)
    if said is None and card is None:
        said = price_of(config, beat.provider, model.partition(":")[2])
    return Tariff(
        model=card.id if card else model,
        provider=provider_of(beat, model),
        price=said.plain() if said else card.price if card else None,
        leaves=leaves(beat, model),
    )


def provider_of(beat: EngineBeat, model: ModelId) -> str:
    """By its name; one that does not say its own stands before the colon in its models'."""
    if beat.upstream is None:
        return ""
    return beat.provider or model.partition(":")[0]
