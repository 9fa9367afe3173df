"""The configuration over HTTP: seen, changed, forgotten, and never half."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bus.config import change_layer, open_layers
from bus.connection import Bus
from proto.config import Config, ConfigLayer, ModelConfig

FILE = ConfigLayer(
    config=Config(
        aliases={"gpt-4o": "org/m"},
        models={"org/m": ModelConfig(temperature=0.5, context=8)},
    ),
    origin="studio:/odyssai.yaml",
    problem="/odyssai.yaml, line 3: `x`: there is no such setting",
)


@pytest.fixture(autouse=True)
async def file(bus: Bus) -> AsyncIterator[None]:
    layers = await open_layers(bus)
    await change_layer(layers, "file", lambda _: FILE)
    yield
    for layer in ("file", "admin"):
        await layers.delete(layer)


async def ask(admin: httpx.AsyncClient, method: str, **asked: Any) -> Any:
    answer = await admin.request(method, "/admin/config", **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_is_in_effect_is_shown_with_its_layers_and_the_files_problem(
    admin: httpx.AsyncClient,
) -> None:
    shown = await ask(admin, "GET")

    assert shown["effective"]["aliases"] == {"gpt-4o": "org/m"}
    assert shown["file"]["origin"] == "studio:/odyssai.yaml"
    assert "line 3" in shown["file"]["problem"]
    assert "admin" not in shown


async def test_a_change_is_laid_over_what_was_set_before_and_null_takes_the_files_word_back(
    admin: httpx.AsyncClient,
) -> None:
    await ask(admin, "PATCH", json={"models": {"org/m": {"top_p": 0.9}}})
    shown = await ask(
        admin, "PATCH", json={"models": {"org/m": {"context": None}}, "aliases": {"gpt-4o": None}}
    )

    assert shown["effective"]["models"] == {"org/m": {"temperature": 0.5, "top_p": 0.9}}
    assert shown["effective"].get("aliases", {}) == {}
    assert shown["admin"]["origin"].startswith("gateway ")


async def test_what_was_set_over_http_is_forgotten_setting_by_setting_or_whole(
    admin: httpx.AsyncClient,
) -> None:
    told = {"default_model": "x", "models": {"org/m": {"context": 4, "top_p": 0.9}}}
    await ask(admin, "PUT", json=told)

    shown = await ask(admin, "DELETE", params={"setting": "models/org/m/context"})
    assert shown["effective"]["models"]["org/m"]["context"] == 8
    assert shown["effective"]["models"]["org/m"]["top_p"] == 0.9
    shown = await ask(admin, "DELETE", params={"setting": "models/org/m"})
    assert "top_p" not in shown["effective"]["models"]["org/m"]
    assert shown["effective"]["default_model"] == "x"
    shown = await ask(admin, "DELETE")
    assert "default_model" not in shown["effective"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"defualt_model": "m"}, "Unknown field `defualt_model`"),
        ({"models": {"m": {"context": 0}}}, "context`"),
        ({"keys": {"me": {"sha256": "secret"}}}, "sha256`"),
    ],
)
async def test_what_makes_no_sense_changes_nothing(
    admin: httpx.AsyncClient, told: Any, words: str
) -> None:
    refused = await admin.patch("/admin/config", json=told)

    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert "admin" not in await ask(admin, "GET")


async def test_a_setting_that_there_is_not_cannot_be_forgotten(admin: httpx.AsyncClient) -> None:
    refused = await admin.delete("/admin/config", params={"setting": "nonsense/x"})

    assert refused.status_code == 400
    assert "there are default_model" in refused.json()["error"]["message"]


async def test_what_it_comes_to_for_a_model_is_shown_under_any_of_its_names(
    admin: httpx.AsyncClient,
) -> None:
    await ask(admin, "PATCH", json={"loading": {"on_demand": False, "idle_ttl_s": 60}})

    shown = {}
    while shown.get("idle_ttl_s") != 60:  # The gateway hears of its own change as all others do.
        shown = (await admin.get("/admin/config/models/gpt-4o")).json()

    assert shown["name"] == "gpt-4o"
    assert shown["model"] == "org/m"
    assert shown["settings"] == {"temperature": 0.5, "context": 8}
    assert shown["on_demand"] is False
