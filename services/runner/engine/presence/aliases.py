"""The other names that an operator gives a model."""

from collections.abc import Mapping

from msgspec.structs import replace

from proto.ids import ModelId
from proto.presence import ModelCard


def with_aliases(card: ModelCard, source: str, aliases: Mapping[str, str]) -> ModelCard:
    """The card, with every alias that stands for its source, its id or one of its names."""
    own = {source, card.id, *card.aliases}
    given = [ModelId(name) for name, model in aliases.items() if model in own and name not in own]
    return replace(card, aliases=(*card.aliases, *given))
