"""Layers of configuration, names that stand for models, and a model's defaults."""

from msgspec import UNSET

from proto.config import Config, KeyConfig, LoadingConfig, ModelConfig
from proto.effective import (
    effective,
    fallbacks,
    idle_ttl_s,
    key_config,
    loads_on_demand,
    min_residence_s,
    model_config,
    target,
    value,
)


def test_what_the_upper_layer_says_wins_setting_by_setting() -> None:
    lower = Config(models={"m": ModelConfig(temperature=0.5, top_p=0.9)}, default_model="a")
    upper = Config(models={"m": ModelConfig(temperature=0.1)})

    merged = effective(lower, upper)

    assert merged == Config(
        models={"m": ModelConfig(temperature=0.1, top_p=0.9)}, default_model="a"
    )


def test_null_takes_back_what_the_lower_layer_says() -> None:
    lower = Config(
        aliases={"gpt-4o": "m", "kept": "k"},
        models={"m": ModelConfig(temperature=0.5, context=8)},
        default_model="a",
    )
    upper = Config(
        aliases={"gpt-4o": None}, models={"m": ModelConfig(temperature=None)}, default_model=None
    )

    merged = effective(lower, upper)

    assert merged == Config(aliases={"kept": "k"}, models={"m": ModelConfig(context=8)})
    assert merged.default_model is UNSET


def test_layers_that_say_nothing_change_nothing() -> None:
    lower = Config(loading=LoadingConfig(on_demand=False))

    assert effective(effective(Config(), lower), Config()) == lower


def test_a_name_that_is_no_alias_stands_for_itself() -> None:
    assert target(Config(), "org/name") == "org/name"


def test_an_exact_alias_comes_before_a_pattern_and_a_long_pattern_before_a_short_one() -> None:
    config = Config(
        aliases={"claude*": "small", "claude-sonnet*": "large", "claude-sonnet-4": "exact"}
    )

    assert target(config, "claude-haiku-3") == "small"
    assert target(config, "claude-sonnet-4-5") == "large"
    assert target(config, "claude-sonnet-4") == "exact"


def test_an_alias_may_stand_for_another_and_a_circle_ends() -> None:
    assert target(Config(aliases={"a": "b", "b": "org/m"}), "a") == "org/m"
    assert target(Config(aliases={"a": "b", "b": "a"}), "a") in ("a", "b")


def test_only_a_star_means_something_in_a_pattern() -> None:
    config = Config(aliases={"m[1]?*": "found"})

    assert target(config, "m[1]?x") == "found"
    assert target(config, "m1ax") == "m1ax"


def test_a_models_own_entry_comes_before_its_alias_and_patterns_fill_what_they_leave_open() -> None:
    config = Config(
        models={
            "*": ModelConfig(temperature=1.0, top_k=10, context=1),
            "org/*": ModelConfig(temperature=0.7, context=2),
            "short": ModelConfig(context=3, batch=5),
            "org/m": ModelConfig(context=4),
        }
    )

    found = model_config(config, ("org/m", "short"))

    assert found == ModelConfig(temperature=0.7, top_k=10, context=4, batch=5)
    assert model_config(config, ("other",)) == ModelConfig(temperature=1.0, top_k=10, context=1)


def test_policies_have_defaults_and_a_models_own_word_wins() -> None:
    config = Config(loading=LoadingConfig(on_demand=False, idle_ttl_s=60.0))

    assert loads_on_demand(Config(), ModelConfig())
    assert not loads_on_demand(config, ModelConfig())
    assert loads_on_demand(config, ModelConfig(on_demand=True))
    assert min_residence_s(Config()) == 30.0
    assert min_residence_s(Config(loading=LoadingConfig(min_residence_s=0))) == 0
    assert idle_ttl_s(Config(), ModelConfig()) is None
    assert idle_ttl_s(config, ModelConfig()) == 60.0
    assert idle_ttl_s(config, ModelConfig(idle_ttl_s=5.0)) == 5.0


def test_a_key_is_known_by_its_hash_and_all_others_share_an_entry() -> None:
    mine = KeyConfig(sha256="a" * 64, weight=3.0)
    config = Config(keys={"me": mine}, others=KeyConfig(weight=0.5))

    assert key_config(config, "a" * 64) == ("me", mine)
    assert key_config(config, "b" * 64) == (None, KeyConfig(weight=0.5))
    assert key_config(config, None) == (None, KeyConfig(weight=0.5))
    assert value(key_config(Config(), None)[1].weight, 1.0) == 1.0


def test_stars_stand_in_what_an_alias_leads_to_for_what_they_stood_for() -> None:
    config = Config(
        aliases={
            "gpt-*": "oa:gpt-*",
            "gpt-5": "oa:gpt-5-0",
            "claude-*@*": "*/claude-*",
            "c*": "m",
        }
    )

    assert target(config, "gpt-4.1") == "oa:gpt-4.1"
    assert target(config, "gpt-5") == "oa:gpt-5-0"
    assert target(config, "claude-x@eu") == "x/claude-eu"
    assert target(config, "cat") == "m"


def test_a_star_that_would_lead_to_itself_does_so_once() -> None:
    config = Config(aliases={"*": "or:*"})

    assert target(config, "x") == "or:x"


def test_a_chain_is_found_by_name_before_pattern_and_its_star_is_filled_in() -> None:
    config = Config(
        aliases={"spare": "b"},
        fallbacks={"or:*": ["oa:*", "spare"], "or:x": ["spare", "c"], "o*": ["d"], "none": []},
    )

    assert fallbacks(config, ["or:x"]) == ("b", "c")
    assert fallbacks(config, ["or:y"]) == ("oa:y", "b")
    assert fallbacks(config, ["alias", "or:y"]) == ("oa:y", "b")
    assert fallbacks(config, ["other"]) == ("d",)
    assert fallbacks(config, ["none"]) == fallbacks(config, ["unknown"]) == ()


def test_a_model_is_no_fallback_of_its_own() -> None:
    config = Config(aliases={"me": "a"}, fallbacks={"a": ["me", "b", "b"]})

    assert fallbacks(config, ["a"]) == ("b",)
