"""Keys, priorities and limits, as clients and engines meet them."""

import asyncio
import hashlib

import httpx
import pytest

from proto.config import Config, KeyConfig
from proto.ids import gateway_id
from proto.presence import GatewayBeat
from proto.subjects import GATEWAY_BEAT
from tests.unit.gateway.scripted import MODEL, gateway

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = CHAT | {"max_tokens": 5}
LIMITED = {"authorization": "Bearer limited"}


def config(**limits):
    key = KeyConfig(sha256=hashlib.sha256(b"limited").hexdigest(), **limits)
    return Config(keys={"ci": key}, others=KeyConfig(scopes=["inference", "models"]))


async def post(http, body=CHAT, path="/v1/chat/completions", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post(path, json=body, headers=named)


async def test_an_engine_hears_whose_share_a_request_takes(http, scripted, decide, events):
    await decide(config(weight=2.5))
    await post(http, **LIMITED)
    await post(http)
    await post(http, authorization="Bearer other", x_odyssai_priority="batch")
    await post(http, CHAT | {"service_tier": "flex"})

    keys = [asked.key for asked in scripted.asked]
    assert keys[:2] == ["ci", "anonymous"]
    assert keys[2].startswith("key-")
    assert [asked.weight for asked in scripted.asked] == [2.5, 1.0, 1.0, 1.0]
    priorities = [asked.priority for asked in scripted.asked]
    assert priorities == ["interactive", "interactive", "batch", "batch"]
    assert [(await events.get()).key for _ in range(2)] == keys[:2]


async def test_vectors_are_of_somebodys_share_too(http, scripted, decide):
    scripted.can["kind"] = "embedder"
    await scripted.say()
    await decide(config(weight=2.0))
    body = {"model": MODEL, "input": "text"}
    await post(http, body, "/v1/embeddings", **LIMITED, x_odyssai_priority="batch")

    (asked,) = scripted.embedded
    assert (asked.key, asked.weight, asked.priority) == ("ci", 2.0, "batch")


async def test_too_many_requests_are_told_when_to_come_again(http, scripted, decide):
    await decide(config(requests_per_minute=2))
    first, second, third = [await post(http, **LIMITED) for _ in range(3)]

    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in (first, second, third)]
    assert left == ["1", "0", "0"]
    assert 55 <= int(third.headers["retry-after"]) <= 60
    assert third.headers["x-ratelimit-reset-requests"].endswith("s")
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert (await post(http)).status_code == 200
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_of_prompt_and_answer_count(http, decide, events, stream):
    await decide(config(tokens_per_minute=12))
    answer = await post(http, CHAT | {"stream": stream}, **LIMITED)
    await events.get()

    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-tokens"] == "12"
    refused = await post(http, MESSAGE, "/v1/messages", **LIMITED, anthropic_version="2023-06-01")
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "12 of its 12 tokens" in refused.json()["error"]["message"]
    assert refused.headers["anthropic-ratelimit-tokens-remaining"] == "0"
    assert refused.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    assert "x-ratelimit-limit-tokens" not in refused.headers


async def test_who_waits_is_told_its_place(http, scripted):
    assert "x-odyssai-queue-place" not in (await post(http)).headers
    scripted.place = 3
    for stream in (False, True):
        answer = await post(http, CHAT | {"stream": stream})
        assert answer.headers["x-odyssai-queue-place"] == "3"


async def test_a_priority_that_there_is_not_is_refused_by_name(http):
    refused = await post(http, x_odyssai_priority="now")

    assert refused.status_code == 400
    assert "X-Odyssai-Priority" in refused.json()["error"]["message"]


async def test_a_limit_holds_for_all_gateways_together(http, host, decide, bus, nats_url, tmp_path):
    await decide(config(requests_per_minute=2))
    for _ in range(2):
        assert (await post(http, **LIMITED)).status_code == 200
    async with gateway(nats_url, tmp_path) as second:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        heard = asyncio.Event()

        def hear(beat: GatewayBeat) -> None:
            if beat.gateway == gateway_id(second.service, second.id) and not told.done():
                told.set_result(beat.url)
            if told.done() and beat.gateway == gateway_id(host.service, host.id) and beat.used:
                heard.set()

        await bus.listen(GATEWAY_BEAT, hear)
        async with asyncio.timeout(10):
            url = await told
            await heard.wait()
            async with httpx.AsyncClient(base_url=url) as other:
                while (await other.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.02)
                answer = await post(other, **LIMITED)

    assert answer.status_code == 429
    assert "2 of its 2 requests" in answer.json()["error"]["message"]
