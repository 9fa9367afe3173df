"""Names of single settings, and what is said there."""

import msgspec
import pytest

from proto.config import Config, LoadingConfig, ModelConfig
from proto.setting_path import NoSuchSetting, path_of, setting, without


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("default_model", ("default_model",)),
        ("aliases/gpt-4.1/mini", ("aliases", "gpt-4.1/mini")),
        ("models/org/name-1.5/context", ("models", "org/name-1.5", "context")),
        ("models/org/name", ("models", "org/name")),
        ("models/context", ("models", "context")),
        ("loading/on_demand", ("loading", "on_demand")),
        ("keys/me/weight", ("keys", "me", "weight")),
        ("others/priority", ("others", "priority")),
    ],
)
def test_a_name_within_a_path_may_hold_slashes(said: str, path: tuple[str, ...]) -> None:
    assert path_of(said) == path


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("nonsense/x", "there are default_model"),
        ("default_model/x", "no settings below"),
        ("loading/speed", "it has on_demand"),
    ],
)
def test_what_cannot_be_set_is_told_with_what_can(said: str, words: str) -> None:
    with pytest.raises(NoSuchSetting, match=words):
        path_of(said)


def test_one_setting_is_a_configuration_of_its_own() -> None:
    assert setting(("models", "org/m", "context"), 8) == Config(
        models={"org/m": ModelConfig(context=8)}
    )
    assert setting(("loading", "on_demand"), False) == Config(
        loading=LoadingConfig(on_demand=False)
    )
    with pytest.raises(msgspec.ValidationError):
        setting(("models", "org/m", "context"), "much")


def test_a_setting_is_taken_out_and_the_rest_stays() -> None:
    config = Config(default_model="m", models={"m": ModelConfig(context=8, top_p=0.5)})

    assert without(config, ("models", "m", "context")) == Config(
        default_model="m", models={"m": ModelConfig(top_p=0.5)}
    )
    assert without(config, ("models", "m")) == Config(default_model="m", models={})
    assert without(config, ("models", "other", "context")) == config
