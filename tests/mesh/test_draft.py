"""A model with a draft, from the order to the answer: the same words, and everybody can see how."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from proto.jobs import Load, Remove, Unload
from tests.conftest import NatsServer
from tests.mesh.asking import chat, greedy_text
from tests.mesh.fleet import LOOK_S, PATIENCE_S, Fleet, Operator
from tests.parrot import MARKERS
from tests.tiny import make_tiny

CONTEXT = 8192
LENGTH = 300

pytestmark = pytest.mark.timeout(120)  # A life of an engine more than others have.


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    """``big`` and ``twin`` have the same weights; ``other`` has another vocabulary."""
    folder = tmp_path_factory.mktemp("draft")
    server = NatsServer(folder / "nats")
    server.start()
    shelf = folder / "shelf"
    make_tiny(shelf / "big", 0, CONTEXT)
    make_tiny(shelf / "twin", 0, CONTEXT)
    make_tiny(shelf / "other", 0, CONTEXT, markers=MARKERS)
    fleet = Fleet(server.url, folder / "homes", shelf)
    try:
        fleet.scheduler("s1")
        fleet.agent("studio", "900MB", ODYSSAI_CRASH_LIMIT="1")
        yield fleet, fleet.gateway()
    finally:
        fleet.end()
        server.kill()


@pytest.fixture
async def operator(running: tuple[Fleet, str]) -> AsyncIterator[Operator]:
    async with Operator.at(running[0].bus_url) as operator:
        await operator.alive("studio")
        await operator.done(Unload(model="big", is_forced=True))
        yield operator


@pytest.fixture
async def client(running: tuple[Fleet, str]) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{running[1]}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


async def contract(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        found: dict[str, Any] = (await http.get("/.well-known/inference-engine.json")).json()
    return found


def pairs(told: dict[str, Any]) -> list[str]:
    found: list[str] = told["capabilities"]["speculative_decoding"]["active_pairs"]
    return found


async def said(client: openai.AsyncOpenAI, **rest: Any) -> str:
    return await greedy_text(client, **chat(model="big", max_tokens=LENGTH) | rest)


async def test_answers_are_the_same_with_a_draft_and_the_mesh_tells_of_it(
    running: tuple[Fleet, str], client: openai.AsyncOpenAI, operator: Operator
) -> None:
    await operator.done(Load(model="big", draft="twin"))
    drafted = await said(client)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            node = await operator.node("studio")
            assert node
            (engine,) = node.engines
            if engine.drafting and engine.drafting.guessed_tokens:
                break
            await asyncio.sleep(LOOK_S)
    assert engine.drafting.model == "twin"
    assert engine.drafting.accepted_tokens == engine.drafting.guessed_tokens
    async with asyncio.timeout(PATIENCE_S):
        while not (told := await contract(running[1]))["models"][0]["x_odyssai"]["accept_rate"]:
            await asyncio.sleep(LOOK_S)
    assert told["capabilities"]["speculative_decoding"] == {
        "supported": True,
        "modes": ["draft_model"],
        "active_pairs": ["big+twin"],
    }
    assert "speculative-decoding" in told["features"]

    refused = await operator.ended(await operator.submit(Remove(model="twin")))
    assert refused.error
    assert "--draft none" in refused.error.message
    await operator.done(Load(model="big", draft="none"))
    assert await said(client) == drafted
    async with asyncio.timeout(PATIENCE_S):
        while pairs(await contract(running[1])):
            await asyncio.sleep(LOOK_S)


async def test_a_draft_of_another_vocabulary_fails_the_load_with_the_reason(
    operator: Operator,
) -> None:
    job = await operator.ended(await operator.submit(Load(model="big", draft="other")))

    assert job.error
    assert "other cannot draft for big" in job.error.message
    assert "vocabularies differ" in job.error.message
    await operator.done(Load(model="big", lifts_quarantine=True))
