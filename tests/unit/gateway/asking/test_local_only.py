"""A request never leaves the local network, unless its model or an explicit fallback says so."""

from collections.abc import AsyncIterator

import pytest

from proto.config import Config, KeyConfig
from proto.keys import hash_of
from tests.unit.gateway.asking.test_fallbacks import CHAT, MODEL, SECOND, serving
from tests.unit.gateway.scripted import ScriptedEngine, full

AWAY = CHAT | {"model": SECOND}
BEARER = {"authorization": "Bearer secret"}
SWITCHES = ["key", "mesh", "header"]


@pytest.fixture
async def away(nats_url, http) -> AsyncIterator[ScriptedEngine]:
    """What stands for a cloud's model."""
    async with serving(nats_url, http, SECOND, owner="up") as one:
        one.about = {"leaves": True, "upstream": "https://api.example.com", "provider": "up"}
        await heard(http, one)
        yield one


async def heard(http, one: ScriptedEngine) -> None:
    local = {"x-odyssai-local-only": "1"}
    while SECOND in await listed(http, local):
        await one.say()


async def listed(http, headers) -> set[str]:
    models = (await http.get("/v1/models", headers=headers)).json()["data"]
    return {model["id"] for model in models}


def switched(by: str) -> tuple[Config, dict[str, str]]:
    """The configuration, and what a client says."""
    key = KeyConfig(sha256=hash_of(b"secret"), local_only=by == "key")
    config = Config(
        keys={"anna": key}, local_only=by == "mesh", others=KeyConfig(scopes=["models"])
    )
    return config, BEARER | ({"x-odyssai-local-only": "1"} if by == "header" else {})


async def test_a_model_that_is_named_is_asked_wherever_it_is(http, away):
    assert (await http.post("/v1/chat/completions", json=AWAY)).status_code == 200


@pytest.mark.parametrize("by", SWITCHES)
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/messages", {"max_tokens": 9}),
        ("/api/chat", {}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/embeddings", {"input": "Hi"}),
        ("/v1/rerank", {"query": "q", "documents": ["d"]}),
    ],
)
async def test_local_only_is_a_403_that_says_why(http, away, decide, by, path, more):
    config, headers = switched(by)
    await decide(config)
    body = ({"model": SECOND} if "messages" not in path and "chat" not in path else AWAY) | more

    answer = await http.post(path, json=body, headers=headers)

    assert answer.status_code == 403, answer.text
    assert "local only" in answer.text
    assert away.asked == away.embedded == away.ranked == []


@pytest.mark.parametrize("by", SWITCHES)
async def test_models_that_are_away_are_not_listed_where_they_may_not_be_asked(
    http, away, decide, by
):
    config, headers = switched(by)
    await decide(config)

    seen = await listed(http, headers)
    tags = (await http.get("/api/tags", headers=headers)).json()["models"]

    assert MODEL in seen
    assert SECOND not in seen | {model["name"] for model in tags}
    assert (await http.get(f"/v1/models/{SECOND}", headers=headers)).is_error


async def test_a_fallback_that_is_away_is_no_fallback_of_a_request_that_must_stay(
    http, scripted, away, decide
):
    await decide(Config(fallbacks={MODEL: [SECOND]}))
    scripted.refusal = full()

    stays = await http.post(
        "/v1/chat/completions", json=CHAT, headers={"x-odyssai-local-only": "1"}
    )
    leaves = await http.post("/v1/chat/completions", json=CHAT)

    assert stays.status_code == 429
    assert leaves.headers["x-odyssai-route"] == f"{MODEL} > {SECOND}"
    assert len(away.asked) == 1


async def test_a_model_of_this_network_is_never_served_by_another_of_its_name_outside(
    http, scripted, away
):
    away.can = away.can | {"aliases": (MODEL,)}
    scripted.refusal = full()
    while MODEL not in str((await http.get(f"/v1/models/{SECOND}")).json()):
        await away.say()
        models = (await http.get("/v1/models")).json()["data"]
        if any(m["id"] == MODEL and away.id in m["x_odyssai"]["engines"] for m in models):
            break

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 429
    assert away.asked == []


async def test_a_request_that_names_no_model_stays(http, scripted, away):
    scripted.about = {"state": "draining"}
    while MODEL in await listed(http, {}):
        await scripted.say()

    answer = await http.post("/v1/responses", json={"input": "Hi"})

    assert answer.status_code == 503
    assert away.asked == []


async def test_what_must_stay_says_so_to_the_engine_itself(http, scripted):
    await http.post("/v1/chat/completions", json=CHAT, headers={"x-odyssai-local-only": "true"})
    await http.post("/v1/chat/completions", json=CHAT, headers={"x-odyssai-local-only": "0"})

    assert [asked.local_only for asked in scripted.asked] == [True, False]
