"""What models cost and can do, as catalogs, vendors and the operator say."""

from proto.ids import ModelId
from proto.presence import ModelCard
from proto.price import Price
from services.cloud.openai.catalog import card
from services.cloud.providers.pricing import priced
from services.cloud.settings import Upstream

ENTRY = {
    "id": "anthropic/claude",
    "created": 1_700_000_000,
    "context_length": 200_000,
    "architecture": {"input_modalities": ["text", "image", "file"]},
    "top_provider": {"max_completion_tokens": 64_000},
    "supported_parameters": ["tools", "reasoning", "structured_outputs"],
    "pricing": {
        "prompt": "0.000003",
        "completion": "0.000015",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.00000375",
    },
}


def plain(id: str, **told) -> ModelCard:
    return ModelCard(id=ModelId(id), context_length=0, **told)


def by(kind, **told) -> Upstream:
    return Upstream(name="x", url="http://x", kind=kind, **told)


def test_an_aggregators_entry_tells_all_of_a_model():
    known = card(ENTRY)

    assert known == ModelCard(
        id=ModelId("anthropic/claude"),
        context_length=200_000,
        max_output_tokens=64_000,
        created_s=1_700_000_000,
        kind="vlm",
        reads_documents=True,
        calls_tools=True,
        reasons=True,
        keeps_formats=True,
        price=Price(prompt=3.0, completion=15.0, cached=0.3, cache_write=3.75),
    )


def test_what_a_catalog_says_oddly_or_not_at_all_stays_unknown():
    for pricing in (None, "free", {}, {"prompt": "-1", "completion": "-1"}, {"prompt": "nan"}):
        known = card({"id": "m", "pricing": pricing, "context_length": "many", "top_provider": 3})
        assert (known.price, known.context_length, known.max_output_tokens) == (None, 0, 0)


def test_nothing_costs_something_else_than_unknown():
    assert card({"id": "m", "pricing": {"prompt": "0", "completion": "0"}}).price == Price(
        prompt=0.0, completion=0.0
    )


def test_a_vendors_family_completes_what_its_catalog_leaves_open():
    dated, bare = (priced(plain(id), by("openai")) for id in ("gpt-4o-2024-08-06", "gpt-4o"))

    assert dated.price == bare.price == Price(prompt=2.5, completion=10.0, cached=1.25)
    assert (bare.context_length, bare.kind, bare.calls_tools) == (128_000, "vlm", True)
    assert priced(plain("claude-opus-4-5-20251101"), by("anthropic")).price == Price(
        prompt=5.0, completion=25.0, cached=0.5, cache_write=6.25
    )


def test_what_only_begins_like_a_family_is_not_of_it():
    for id in ("gpt-4o-audio-preview", "gpt-4o-2024-05-13", "gpt-6", "gpt-5-pro"):
        assert priced(plain(id), by("openai")) == plain(id)


def test_other_kinds_have_no_families():
    assert priced(plain("gpt-4o"), by("openai-compatible")) == plain("gpt-4o")


def test_the_operators_price_wins_and_the_longest_pattern_is_the_most_exact():
    mine = {"*": Price(prompt=9.0), "gpt-4*": Price(prompt=8.0), "gpt-4o": Price(prompt=7.0)}
    up = by("openai", prices=mine)

    assert [priced(plain(id), up).price for id in ("gpt-4o", "gpt-4x", "x")] == [
        Price(prompt=7.0), Price(prompt=8.0), Price(prompt=9.0),
    ]  # fmt: skip
