"""Four slots, sixteen places: one key that floods them, work that may wait, and everybody else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import openai
import pytest

from tests.mesh.asking import LONG, Reader, chat, greedy_text
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import Mesh
from tests.mesh.telemetry import Telemetry

SLOTS, PLACES = 4, 16
OWN = 14
"""Of the places, that one key may have."""


@pytest.fixture(scope="module")
def crowded(start_mesh: OwnMesh) -> Iterator[Mesh]:
    return start_mesh(told={"ODYSSAI_SLOTS": str(SLOTS), "ODYSSAI_QUEUE": str(PLACES)})


@pytest.fixture
async def heard(crowded: Mesh) -> AsyncIterator[Telemetry]:
    async with Telemetry.listen(crowded.access.url("ops")) as heard:
        yield heard


def client_of(mesh: Mesh, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0, timeout=40)


@asynccontextmanager
async def running(
    client: openai.AsyncOpenAI, count: int, **asked: object
) -> AsyncIterator[list[Reader]]:
    """Answers under way, left at the end."""
    readers = [Reader(client, content=f"Number {n}", **asked) for n in range(count)]
    try:
        for reader in readers:
            await reader.until_under_way()
        yield readers
    finally:
        for reader in readers:
            await reader.leave()


@asynccontextmanager
async def waiting(mesh: Mesh, key: str, count: int) -> AsyncIterator[list[str]]:
    """The places that so many requests of a key are told, one asked after the other."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=mesh.url, timeout=40, trust_env=False)
        )
        places = []
        for n in range(count):
            body = chat(content=f"Later {n}", stream=True, max_tokens=LONG)
            asked = http.stream(
                "POST", "/v1/chat/completions", json=body, headers={"x-api-key": key}
            )
            answer = await stack.enter_async_context(asked)
            places.append(answer.headers.get("x-odyssai-queue-place", "0"))
        yield places


async def test_a_flood_takes_neither_every_slot_nor_every_place(
    crowded: Mesh, heard: Telemetry
) -> None:
    async with (
        client_of(crowded, "flood") as flooder,
        client_of(crowded, "other") as other,
        running(flooder, SLOTS, max_tokens=LONG) as flood,
        waiting(crowded, "flood", OWN) as places,
    ):
        assert places == [str(n) for n in range(OWN)]
        with pytest.raises(openai.RateLimitError, match="of your key"):
            await flooder.chat.completions.create(**chat())

        said = await asyncio.wait_for(greedy_text(other, max_tokens=5), 5)

        assert said
        assert not any(reader.is_over for reader in flood)
    await heard.idle()


async def test_batch_work_lets_others_go_first_and_says_what_it_would_have(
    crowded: Mesh, heard: Telemetry
) -> None:
    async with client_of(crowded, "one") as client:
        batch = {"max_tokens": LONG, "extra_headers": {"x-odyssai-priority": "batch"}}
        async with running(client, SLOTS, **batch) as readers:
            assert await greedy_text(client, content="Now, please", max_tokens=5)
            assert not any(reader.is_over for reader in readers)
            for reader in readers:
                await reader.until_further(400)
            paused = [reader.read.so_far for reader in readers]
        asked = [
            greedy_text(client, content=f"Number {n}", max_tokens=len(read.deltas))
            for n, read in enumerate(paused)
        ]
        for alone, read in zip(await asyncio.gather(*asked), paused, strict=True):
            assert alone
            assert read.text.startswith(alone)
    await heard.idle()


async def test_everybodys_requests_are_told_by_a_name_of_their_key(
    crowded: Mesh, heard: Telemetry
) -> None:
    async with client_of(crowded, "a secret") as client:
        since = heard.now
        await greedy_text(client, max_tokens=2)
        told = await heard.until("request", since=since)

    assert told["key"].startswith("key-")
    assert "secret" not in told["key"]
