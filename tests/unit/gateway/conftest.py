"""A gateway on a real bus server, a scripted engine behind it, SDKs in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from bus.config import change_layer, open_layers
from bus.connection import Bus
from proto.config import Config, ConfigLayer
from proto.errors import Code, MeshError
from proto.ids import gateway_id
from proto.placement import Schedule, Scheduled
from proto.presence import GatewayBeat
from proto.subjects import GATEWAY_BEAT, REQUEST_TELEMETRY, SCHEDULE
from proto.telemetry import RequestEvent
from services.host import Host
from tests.unit.gateway.scripted import MODEL, ScriptedEngine, engine, gateway

Decide = Callable[[Config], Awaitable[None]]


@pytest.fixture(autouse=True)
def free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODYSSAI_PORT", "0")
    monkeypatch.setenv("ODYSSAI_DRAIN_S", "0.5")


@pytest.fixture
async def scripted(nats_url: str) -> AsyncIterator[ScriptedEngine]:
    async with engine(nats_url) as scripted:
        yield scripted


@pytest.fixture
async def other(nats_url: str) -> AsyncIterator[ScriptedEngine]:
    async with engine(nats_url, "e2") as scripted:
        yield scripted


@pytest.fixture
async def host(nats_url: str, tmp_path: Path) -> AsyncIterator[Host]:
    async with gateway(nats_url, tmp_path) as host:
        yield host


@pytest.fixture
async def address(host: Host, bus: Bus) -> str:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(beat: GatewayBeat) -> None:
        if not found.done():
            found.set_result(beat.url)

    await bus.listen(GATEWAY_BEAT, hear, gateway_id(host.service, host.id))
    return await asyncio.wait_for(found, 20)


@pytest.fixture
async def url(address: str, scripted: ScriptedEngine) -> str:
    """Of a gateway that has heard the engine."""
    async with httpx.AsyncClient(base_url=address) as http:
        while (await http.get("/ready")).status_code != 200:
            await scripted.say()
    return address


@pytest.fixture
async def events(host: Host, bus: Bus) -> asyncio.Queue[RequestEvent]:
    told: asyncio.Queue[RequestEvent] = asyncio.Queue()
    await bus.listen(REQUEST_TELEMETRY, told.put_nowait, gateway_id(host.service, host.id))
    await bus.settled()
    return told


@pytest.fixture
async def choosy(bus: Bus) -> None:
    """A scheduler that knows of no model but the one of ``scripted``."""

    async def refuse(question: Schedule) -> Scheduled:
        raise MeshError(
            Code.MODEL_NOT_FOUND,
            f"The model {question.model!r} does not exist here. "
            f"GET /v1/models lists what does: {MODEL}.",
            param="model",
        )

    await bus.answer(SCHEDULE, refuse, group="scheduler")


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as http:
        yield http


@pytest.fixture
async def openai(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def decide(bus: Bus, http: httpx.AsyncClient) -> AsyncIterator[Decide]:
    """What the operator decides is in effect when it returns; nothing is when the test is over."""
    layers = await open_layers(bus)
    number = 0

    async def write(config: Config) -> None:
        nonlocal number
        number += 1
        seen = f"seen-{number}"
        aliases = {**(config.aliases or {}), seen: MODEL}
        layer = ConfigLayer(config=Config(**{**_told(config), "aliases": aliases}))
        await change_layer(layers, "admin", lambda _: layer)
        async with asyncio.timeout(5):
            while (await http.get(f"/v1/models/{seen}")).is_error:
                await asyncio.sleep(0.01)

    yield write
    await layers.delete("admin")


def _told(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__struct_fields__}
