"""Which upstreams there are, by the environment and the configuration."""

import pytest

from proto.config import Config, ConfigLayer, ProviderConfig
from proto.price import Price, PriceConfig
from services.cloud.providers.kept import Kept
from services.cloud.providers.upstreams import configured, upstreams
from services.cloud.settings import providers
from services.host import SettingError


def layer(**entries: ProviderConfig | None) -> ConfigLayer:
    return ConfigLayer(config=Config(providers=entries))


def test_a_vendors_own_variable_enrols_it_unless_the_name_is_taken():
    told = {
        "OPENAI_API_KEY": "k",
        "OPENROUTER_API_KEY": "r",
        "ODYSSAI_UPSTREAMS": "or=http://x/v1/",
    }

    found = upstreams(providers(told), {}, told)

    assert {name: (up.kind, up.url, up.keys) for name, up in found.items()} == {
        "or": ("openai-compatible", "http://x/v1", ()),
        "oa": ("openai", "https://api.openai.com/v1", ("k",)),
    }


@pytest.mark.parametrize("said", ["up", "up=ftp://x", "Up=http://x", "=http://x"])
def test_what_names_no_server_is_refused_with_what_would(said):
    with pytest.raises(SettingError, match="name=http://host:port/v1"):
        providers({"ODYSSAI_UPSTREAMS": said})


def test_the_configuration_changes_and_takes_away_what_the_environment_declares():
    declared = providers({"ODYSSAI_UPSTREAMS": "a=http://a/v1,b=http://b/v1"})
    file = layer(
        a=ProviderConfig(hides=["x*"], requests=4), b=None, c=ProviderConfig(kind="openai")
    )
    admin = layer(a=ProviderConfig(requests=9))

    found = upstreams(configured(declared, {"file": file, "admin": admin}), {}, {})

    assert sorted(found) == ["a", "c"]
    assert (found["a"].url, found["a"].hides, found["a"].requests) == ("http://a/v1", ("x*",), 9)
    assert found["c"].url == "https://api.openai.com/v1"


def test_kept_keys_come_before_those_of_the_environment_and_each_once():
    entry = ProviderConfig(kind="openai", keys_from=["ONE", "NONE", "TWO"])

    found = upstreams({"oa": entry}, {"oa": Kept(("kept", "two"))}, {"ONE": "one", "TWO": "two"})

    assert found["oa"].keys == ("kept", "two", "one")
    assert "kept" not in repr(found["oa"])


def test_a_provider_without_an_address_is_none():
    assert upstreams({"x": ProviderConfig()}, {}, {}) == {}


def test_prices_travel_as_prices():
    entry = ProviderConfig(url="http://x", prices={"m*": PriceConfig(prompt=1.5), "n": None})

    assert upstreams({"x": entry}, {}, {})["x"].prices == {"m*": Price(prompt=1.5)}
