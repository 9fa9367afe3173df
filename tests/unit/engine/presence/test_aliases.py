"""Other names of a model."""

import pytest

from proto.ids import ModelId
from proto.presence import ModelCard
from services.runner.engine.presence.aliases import with_aliases

CARD = ModelCard(id=ModelId("org/Name"), aliases=(ModelId("name"),), context_length=8)


@pytest.mark.parametrize("model", ["/models/Name", "org/Name", "name"])
def test_a_model_is_meant_by_its_source_and_each_of_its_names(model: str) -> None:
    card = with_aliases(CARD, "/models/Name", {"gpt-4o": model, "other": "org/Other"})

    assert card.aliases == ("name", "gpt-4o")


def test_a_name_is_not_listed_twice() -> None:
    assert with_aliases(CARD, "x", {"name": "org/Name"}) == CARD
