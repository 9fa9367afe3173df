"""What a gateway reports of each endpoint, and that it ends with nothing unsaid."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bus.connection import Bus
from proto.config import Config, ModelConfig
from proto.frames import Progress
from proto.ids import gateway_id
from proto.keys import OTHERS
from proto.price import PriceConfig
from proto.subjects import USAGE_REPORT
from proto.usage import NOTHING, Amounts, Item, UsageReport
from services.gateway import drain
from services.host import Host
from tests.unit.gateway.scripted import ALIAS, MODEL, ScriptedEngine, deltas

PRICE = PriceConfig(prompt=1.0, completion=10.0, cached=0.5)
HI = [{"role": "user", "content": "Hi"}]
ANSWERED = Amounts(1, 10, 2, 4, 0, 6 * 1000 + 4 * 500 + 2 * 10_000)
"""By the scripted engine: ten tokens of which four were cached, and two."""


@pytest.fixture
async def reported(host: Host, bus: Bus, decide: Any) -> AsyncIterator[list[UsageReport]]:
    await decide(Config(models={MODEL: ModelConfig(price=PRICE)}))
    told: list[UsageReport] = []
    await bus.listen(USAGE_REPORT, told.append, gateway_id(host.service, host.id))
    await bus.settled()
    yield told
    assert [report.number for report in told] == list(range(1, len(told) + 1))
    items = {used.item for report in told for used in report.used}
    assert items <= {Item(OTHERS, MODEL, "")}


async def sum_of(told: list[UsageReport], requests: int) -> Amounts:
    """Once so many are reported."""
    async with asyncio.timeout(10):
        while True:
            total = sum((used.amounts for report in told for used in report.used), NOTHING)
            if total.requests >= requests:
                return total
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": ALIAS, "messages": HI}),
        ("/v1/completions", {"model": MODEL, "prompt": "Hi"}),
        ("/v1/messages", {"model": ALIAS, "messages": HI, "max_tokens": 9}),
        ("/v1/responses", {"model": ALIAS, "input": "Hi"}),
        ("/v1/responses/compact", {"model": ALIAS, "input": "Hi"}),
        ("/api/chat", {"model": ALIAS, "messages": HI, "stream": False}),
        ("/api/generate", {"model": ALIAS, "prompt": "Hi", "stream": False}),
    ],
)
async def test_every_endpoint_of_words_says_what_it_cost_and_is_counted(
    http: httpx.AsyncClient, reported: list[UsageReport], path: str, body: dict[str, Any]
) -> None:
    whole = await http.post(path, json=body)
    assert whole.status_code == 200, whole.text
    assert whole.headers["x-odyssai-cost-usd"] == "0.000028"
    assert await sum_of(reported, 1) == ANSWERED

    if not path.endswith("compact"):
        streamed = await http.post(path, json={**body, "stream": True})
        assert "world" in streamed.text
        assert await sum_of(reported, 2) == ANSWERED + ANSWERED


@pytest.mark.parametrize(
    ("kind", "path", "body", "tokens"),
    [
        ("embedder", "/v1/embeddings", {"model": ALIAS, "input": ["a", "b"]}, 6),
        ("embedder", "/api/embed", {"model": ALIAS, "input": ["a", "b"]}, 6),
        ("embedder", "/api/embeddings", {"model": ALIAS, "prompt": "a"}, 3),
        ("reranker", "/v1/rerank", {"model": ALIAS, "query": "q", "documents": ["a", "b"]}, 10),
    ],
)
async def test_every_endpoint_of_numbers_does_too(
    http: httpx.AsyncClient,
    scripted: ScriptedEngine,
    reported: list[UsageReport],
    kind: str,
    path: str,
    body: dict[str, Any],
    tokens: int,
) -> None:
    scripted.can = {"kind": kind}
    while (await http.get(f"/v1/models/{MODEL}")).json()["x_odyssai"]["kind"] != kind:
        await scripted.say()

    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert float(answer.headers["x-odyssai-cost-usd"]) == tokens / 1e6
    assert await sum_of(reported, 1) == Amounts(1, tokens, 0, 0, 0, tokens * 1000)


async def test_what_is_answered_twice_under_one_idempotency_key_is_counted_once(
    http: httpx.AsyncClient, reported: list[UsageReport]
) -> None:
    body, again = {"model": ALIAS, "messages": HI}, {"idempotency-key": "once"}
    first = await http.post("/v1/chat/completions", json=body, headers=again)
    second = await http.post("/v1/chat/completions", json=body, headers=again)
    await http.post("/v1/chat/completions", json=body)

    assert first.json() == second.json()
    assert await sum_of(reported, 2) == ANSWERED + ANSWERED


async def test_a_refused_request_is_not_counted(
    http: httpx.AsyncClient, reported: list[UsageReport]
) -> None:
    assert (await http.post("/v1/chat/completions", json={"messages": 5})).status_code == 400
    await http.post("/v1/chat/completions", json={"model": ALIAS, "messages": HI})

    assert await sum_of(reported, 1) == ANSWERED


async def test_a_gateway_that_ends_has_reported_all_that_it_cut(
    http: httpx.AsyncClient,
    host: Host,
    scripted: ScriptedEngine,
    reported: list[UsageReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def endless(engine: ScriptedEngine, asked: Any) -> None:
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 4), *deltas(asked.epoch, "Hello"))
        await asyncio.Event().wait()

    monkeypatch.setattr(drain, "LINGER_S", 0.05)
    scripted.script = endless
    body = {"model": ALIAS, "messages": HI, "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        while "Hello" not in await anext(lines):
            pass
        host.end()
        async for _ in lines:
            pass

    assert await sum_of(reported, 1) == Amounts(1, 10, 1, 4, 0, 6 * 1000 + 4 * 500 + 10_000)
