"""What an agent is told."""

import pytest

from services.host import SettingError
from services.runner.settings import read


def test_sources_are_split_and_the_node_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_NODE", "studio-1")
    monkeypatch.setenv("ODYSSAI_MODELS", "smollm2, org/name ,")

    assert read().node == "studio-1"
    assert read().sources == ("smollm2", "org/name")


def test_a_node_name_that_is_no_subject_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_NODE", "my.mac")

    with pytest.raises(SettingError, match="ODYSSAI_NODE"):
        read()


def test_aliases_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().aliases == {}
    monkeypatch.setenv("ODYSSAI_ALIASES", "gpt-4o=org/name, fast = smollm2 ,")

    assert read().aliases == {"gpt-4o": "org/name", "fast": "smollm2"}


@pytest.mark.parametrize("told", ["gpt-4o", "=smollm2", "gpt-4o="])
def test_an_alias_for_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("ODYSSAI_ALIASES", told)

    with pytest.raises(SettingError, match="NAME=MODEL"):
        read()


def test_no_model_by_flag_leaves_all_to_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().sources == ("smollm2",)
    monkeypatch.setenv("ODYSSAI_MODELS", "none")

    assert read().sources == ()


def test_a_model_that_is_named_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_MODELS", "a,b,a")

    assert read().sources == ("a", "b")
