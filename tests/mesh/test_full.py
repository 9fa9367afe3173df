"""One slot and one place to wait: who comes third is told when to come again."""

import time
from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx
import openai
import pytest

from tests.mesh.asking import LONG, Reader, async_gpt_of, chat, message, message_body, posted
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import Mesh
from tests.mesh.sockets import Socket
from tests.mesh.telemetry import Telemetry

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def narrow(start_mesh: OwnMesh) -> Iterator[Mesh]:
    return start_mesh(told={"ODYSSAI_SLOTS": "1", "ODYSSAI_QUEUE": "1"})


@pytest.fixture
async def heard(narrow: Mesh) -> AsyncIterator[Telemetry]:
    async with Telemetry.listen(narrow.access.url("ops")) as heard:
        yield heard


@pytest.fixture
async def client(narrow: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with async_gpt_of(narrow) as client:
        yield client


@pytest.fixture
async def full(narrow: Mesh, heard: Telemetry, client: openai.AsyncOpenAI) -> AsyncIterator[Reader]:
    """The one who is served; another waits behind."""
    served = await Reader(client, content="First of all", max_tokens=LONG).until_under_way()
    async with Socket.send(narrow, CHAT, chat(content="Second", max_tokens=3)):
        await heard.engine(lambda beat: beat["queued"] == 1, since=heard.now)
        yield served
        await served.leave()
    await heard.idle()


async def test_one_too_many_is_a_429_with_a_time_to_wait(narrow: Mesh, full: Reader) -> None:
    for path, body in ((CHAT, chat()), ("/v1/messages", message_body())):
        for stream in (False, True):
            answer = await _post(narrow, path, body | {"stream": stream})

            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["type"] == "rate_limit_error"
    assert not full.is_over


async def _post(mesh: Mesh, path: str, body: dict[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=mesh.url, timeout=10, trust_env=False) as client:
        return await client.post(path, json=body)


async def test_both_sdks_raise_their_rate_limit_error(narrow: Mesh, full: Reader) -> None:
    async with (
        async_gpt_of(narrow) as gpt,
        anthropic.AsyncAnthropic(base_url=narrow.url, api_key="none", max_retries=0) as claude,
    ):
        with pytest.raises(openai.RateLimitError):
            await gpt.chat.completions.create(**chat())
        with pytest.raises(anthropic.RateLimitError):
            await claude.messages.create(**message())


async def test_who_leaves_the_queue_makes_room(
    narrow: Mesh, heard: Telemetry, client: openai.AsyncOpenAI
) -> None:
    served = await Reader(client, content="Take your time", max_tokens=LONG).until_under_way()
    async with Socket.send(narrow, CHAT, chat(content="Behind it")) as waiting:
        await heard.engine(lambda beat: beat["queued"] == 1, since=heard.now)

        await waiting.leave()

        free = await heard.engine(lambda beat: not beat["queued"], since=heard.now, within_s=3)
    assert free["running"] == 1
    assert not served.is_over
    await served.leave()
    await heard.idle()


async def test_the_queue_is_served_when_its_turn_comes(
    narrow: Mesh, heard: Telemetry, client: openai.AsyncOpenAI
) -> None:
    served = await Reader(client, content="Soon over", max_tokens=LONG).until_under_way()
    second = Reader(client, content="Next, please", max_tokens=5)
    await heard.engine(lambda beat: beat["queued"] == 1, since=heard.now)
    assert not second.read.text

    left = time.monotonic()
    await served.leave()

    assert (await second.whole()).finish == "length"
    assert time.monotonic() - left < 3.0


def test_an_empty_mesh_serves_again(narrow: Mesh) -> None:
    assert posted(narrow, CHAT, chat()).status_code == 200
