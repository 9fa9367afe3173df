"""The vendor's SDK, which refuses whatever its types do not hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai as openai_sdk
import pytest

from bus.connection import Bus
from proto.ids import gateway_id
from proto.presence import GatewayBeat
from proto.subjects import GATEWAY_BEAT
from tests.unit.gateway.scripted import MODEL, ScriptedEngine, gateway

Client = openai_sdk.AsyncOpenAI


def strict_client(url: str) -> Client:
    return openai_sdk.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    )


@pytest.fixture
async def strict(url: str) -> AsyncIterator[Client]:
    async with strict_client(url) as client:
        yield client


@pytest.fixture
def neighbour(nats_url: str, tmp_path: Path, scripted: ScriptedEngine, bus: Bus) -> Any:
    """Starts another gateway of the same mesh."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Client]:
        heard: asyncio.Queue[GatewayBeat] = asyncio.Queue()
        await bus.listen(GATEWAY_BEAT, heard.put_nowait)
        await bus.settled()
        async with gateway(nats_url, tmp_path / "neighbour") as host:
            while (beat := await heard.get()).gateway != gateway_id(host.service, host.id):
                pass
            async with httpx.AsyncClient(base_url=beat.url) as http:
                while (await http.get("/ready")).status_code != 200:
                    await scripted.say()
            async with strict_client(beat.url) as client:
                yield client

    return start


@pytest.fixture
def ask(strict: openai_sdk.AsyncOpenAI) -> Any:
    async def ask(**asked: Any) -> Any:
        return await strict.responses.create(**({"model": MODEL, "input": "Hi"} | asked))

    return ask


@pytest.fixture
def stream(ask: Any) -> Any:
    """Every event, each taken by the SDK's strict types."""

    async def stream(**asked: Any) -> list[Any]:
        events = [event async for event in await ask(stream=True, **asked)]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        return events

    return stream
