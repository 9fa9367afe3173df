"""Something is killed or stopped; what need not notice does not, and the rest comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from bus.connection import Bus
from ops.joining.local import own_url
from proto.ids import NodeId
from proto.jobs import RestartAgent
from proto.subjects import CANCEL, RESTART_AGENT
from tests.mesh.asking import Reader, async_gpt_of, chat, greedy_text, posted
from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import NODE, Command, Mesh, soon, until
from tests.mesh.telemetry import Telemetry

SPAN = 1500
"""Tokens of an answer that takes longer than a service's restart is begun."""
FULL = 8000
"""Tokens of one that takes longer than an agent's restart, however busy the machine."""
OUT_OF_ROTATION_S = 3.0


@pytest.fixture(scope="module")
def breakable(start_mesh: OwnMesh) -> Mesh:
    """Its engines die by the tests' hands, which says nothing against the model."""
    return start_mesh(told={"ODYSSAI_CRASH_LIMIT": "0"})


@pytest.fixture(scope="module")
def expected(breakable: Mesh) -> str:
    """What an undisturbed greedy run says."""
    answer = posted(breakable, "/v1/chat/completions", chat(max_tokens=SPAN))
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


@pytest.fixture
async def client(breakable: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    """It sees a mesh in which nothing is missing."""
    await soon(breakable.is_whole, 20, "all services")
    await soon(lambda: "tiny" in breakable.models(), 20, "the model")
    async with async_gpt_of(breakable) as client:
        yield client


@pytest.fixture
async def heard(breakable: Mesh) -> AsyncIterator[Telemetry]:
    async with Telemetry.listen(breakable.access.url("ops")) as heard:
        yield heard


async def replaced(mesh: Mesh, name: str, dead: psutil.Process) -> psutil.Process:
    await soon(lambda: mesh.pids(name) - {dead.pid}, 15, f"a new {name}")
    return mesh.process_of(name)


@pytest.mark.parametrize("victim", ["scheduler", "health", "cloud", "nats-server", "runner"])
async def test_a_running_stream_does_not_notice(
    breakable: Mesh, client: openai.AsyncOpenAI, expected: str, victim: str
) -> None:
    reader = await Reader(client, max_tokens=SPAN).until_under_way()
    engine, dying = breakable.process_of("engine"), breakable.process_of(victim)
    assert not reader.is_over

    dying.kill()
    await replaced(breakable, victim, dying)

    streamed = await reader.whole()
    assert streamed.text == expected
    assert streamed.finish == "length"
    assert await greedy_text(client)
    assert breakable.process_of("engine") == engine


async def test_a_running_stream_does_not_notice_that_the_agent_starts_anew(
    breakable: Mesh, client: openai.AsyncOpenAI, expected: str, heard: Telemetry
) -> None:
    reader = await Reader(client, max_tokens=FULL).until_under_way()
    engine, agent = breakable.process_of("engine"), breakable.process_of("runner")
    since = heard.now
    async with Bus.connect(breakable.access.url("scheduler"), "test:restart") as bus:
        await bus.ask(RESTART_AGENT, RestartAgent(node=NodeId(NODE)), NODE)
    await heard.until("event", lambda event: event["phase"] == "adopted", since, within_s=15)
    assert not reader.is_over

    said = max(len(expected), len(reader.read.text))
    await soon(lambda: len(reader.read.text) > said, 20, "more of the answer")
    assert reader.read.text.startswith(expected)
    assert not reader.is_over
    await reader.leave()
    assert breakable.process_of("engine") == engine
    assert breakable.process_of("runner") == agent


async def test_without_a_scheduler_requests_are_served_at_once(
    breakable: Mesh, client: openai.AsyncOpenAI
) -> None:
    dying = breakable.process_of("scheduler")
    dying.kill()

    assert await greedy_text(client)

    await replaced(breakable, "scheduler", dying)


async def test_an_engine_is_adopted_by_its_new_agent(
    breakable: Mesh, client: openai.AsyncOpenAI, heard: Telemetry
) -> None:
    engine, agent = breakable.process_of("engine"), breakable.process_of("runner")

    agent.kill()
    await heard.until("event", lambda event: event["phase"] == "adopted", within_s=15)

    assert breakable.process_of("engine") == engine
    # Who adopts cares: the adopted engine is started again when it dies.
    since = heard.now
    engine.kill()
    await heard.until("event", lambda event: event["phase"] == "ready", since, within_s=20)
    assert await greedy_text(client)


async def test_the_stream_of_a_killed_engine_goes_on_in_its_next_life(
    breakable: Mesh, client: openai.AsyncOpenAI, expected: str
) -> None:
    reader = await Reader(client, max_tokens=SPAN).until_under_way()
    engine = breakable.process_of("engine")

    engine.kill()

    # Who asks now waits for it, too.
    assert await greedy_text(client)
    streamed = await reader.whole()
    assert (streamed.text, streamed.finish) == (expected, "length")
    assert breakable.pids("engine") != {engine.pid}


async def test_an_engine_that_stood_still_for_a_while_goes_on_with_what_it_was_left_for(
    breakable: Mesh, client: openai.AsyncOpenAI, expected: str
) -> None:
    engine, is_left = breakable.process_of("engine"), asyncio.Event()
    (name,) = engines_of(breakable)
    async with Bus.connect(breakable.access.url("runner", NODE), "test:cancels") as bus:
        await bus.listen(CANCEL, lambda _: is_left.set(), name)
        await bus.settled()
        reader = await Reader(client, max_tokens=SPAN).until_under_way()

        engine.suspend()
        assert not reader.is_over
        await asyncio.wait_for(is_left.wait(), 9)
        engine.resume()

    assert (await reader.whole()).text == expected
    assert breakable.process_of("engine") == engine


async def test_who_has_seen_nothing_yet_gets_a_whole_answer_from_the_next_engine(
    breakable: Mesh, client: openai.AsyncOpenAI, heard: Telemetry, expected: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(greedy_text(client, max_tokens=SPAN))
        await heard.engine(lambda beat: beat["running"] == 1, since=heard.now)
        breakable.process_of("engine").kill()

    assert waiting.result() == expected


@pytest.fixture
def second_node(breakable: Mesh, tiny_model: Path, tmp_path: Path) -> Iterator[Command]:
    """A machine that joins with the same model."""
    url = asyncio.run(own_url(breakable.access, "runner", "b"))
    joined = Command(
        "runner", "--node", "b", "--home", str(tmp_path / "home"), "--model", str(tiny_model),
        told={"ODYSSAI_NATS": url},
    )  # fmt: skip
    yield joined
    joined.end()


def engines_of(mesh: Mesh) -> set[str]:
    answer = httpx.get(f"{mesh.url}/v1/models/tiny", timeout=5, trust_env=False).json()
    return set(answer["x_odyssai"]["engines"]) if "x_odyssai" in answer else set()


def test_a_stopped_engine_is_out_of_rotation_in_time_and_replaced(
    breakable: Mesh, second_node: Command
) -> None:
    until(breakable.is_whole, 20)
    until(lambda: len(engines_of(breakable)) == 2, 20, "two engines")
    stuck = breakable.process_of("engine")
    with httpx.Client(base_url=breakable.url, timeout=20, trust_env=False) as http:

        def served_by() -> str:
            answer = http.post("/v1/chat/completions", json=chat(max_tokens=2))
            assert answer.status_code == 200, answer.text
            return answer.headers["x-odyssai-engine"].partition(".")[0]

        until(lambda: served_by() == NODE, 10, "work for both")

        stuck.suspend()
        at = time.monotonic()

        # Whoever is sent to it meanwhile is answered by the other one.
        while time.monotonic() - at < OUT_OF_ROTATION_S:
            assert served_by() == "b"
        for _ in range(5):
            began = time.monotonic()
            assert served_by() == "b"
            assert time.monotonic() - began < 1.0
    # Its agent ends it and starts another.
    until(lambda: breakable.pids("engine") - {stuck.pid}, 25, "another engine")
    until(lambda: len(engines_of(breakable)) == 2, 15, "two engines again")
