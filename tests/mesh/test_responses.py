"""The Responses API through a whole mesh: real engines, real state, gateways that come and go."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bus.connection import Bus
from proto.state import RESPONSES
from tests.mesh.asking import LONG, QUESTION
from tests.mesh.house import END_S, READY_S, ROOT, Mesh, environment, free_port, until
from tests.tiny import make_tiny

OwnMesh = Callable[..., Mesh]


def asked(**more: Any) -> dict[str, Any]:
    usual = {"model": "tiny", "input": QUESTION, "temperature": 0, "max_output_tokens": 16}
    return usual | more


def client_of(url: str) -> openai.OpenAI:
    """One that refuses whatever the vendor's types do not hold."""
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=40,
        _strict_response_validation=True,
    )  # fmt: skip


@pytest.fixture
def strict(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with client_of(mesh.url) as client:
        yield client


@pytest.fixture
def neighbour(mesh: Mesh) -> Iterator[openai.OpenAI]:
    """Of another gateway process in front of the same mesh."""
    port = free_port()
    told = {
        "ODYSSAI_NATS": mesh.access.url("gateway"),
        "ODYSSAI_HOME": str(mesh.home),
        "ODYSSAI_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"], cwd=ROOT, env=environment(told)
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _is_ready(url), READY_S, "a second gateway")
        with client_of(url) as client:
            yield client
    finally:
        process.terminate()
        process.wait(END_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def over(client: openai.OpenAI, id: str) -> Any:
    """The response, once it is over."""

    def look() -> Any:
        response = client.responses.retrieve(id)
        return None if response.status in ("queued", "in_progress") else response

    return until(look, 30, f"{id} over")


def test_whole_and_streamed_are_the_same_answer(strict: openai.OpenAI) -> None:
    whole = strict.responses.create(**asked())
    events = list(strict.responses.create(**asked(), stream=True))

    last = events[-1].response
    assert whole.output_text == last.output_text != ""
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert events[-1].type == "response.incomplete"
    assert whole.usage.output_tokens == last.usage.output_tokens == 16
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text


def test_it_says_the_same_as_a_chat(strict: openai.OpenAI) -> None:
    chat = strict.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=16
    )

    assert strict.responses.create(**asked()).output_text == chat.choices[0].message.content


def test_a_conversation_goes_on_out_of_the_cache(strict: openai.OpenAI) -> None:
    first = strict.responses.create(**asked(input=QUESTION * 8))
    second = strict.responses.create(**asked(input="And then?", previous_response_id=first.id))
    third = strict.responses.create(**asked(input="And now?", previous_response_id=second.id))

    for before, after in ((first, second), (second, third)):
        assert after.usage.input_tokens > before.usage.input_tokens + 16
        assert after.usage.input_tokens_details.cached_tokens >= before.usage.input_tokens
    listed = list(strict.responses.input_items.list(third.id))
    assert [item.role for item in listed] == ["user", "assistant", "user", "assistant", "user"]


def test_two_gateways_know_the_same_responses(
    strict: openai.OpenAI, neighbour: openai.OpenAI
) -> None:
    here = strict.responses.create(**asked())
    there = neighbour.responses.create(**asked(input="And?", previous_response_id=here.id))

    assert strict.responses.retrieve(there.id) == there
    strict.responses.delete(there.id)
    with pytest.raises(openai.NotFoundError):
        neighbour.responses.retrieve(there.id)


def test_another_gateway_reads_along_and_cancels(
    strict: openai.OpenAI, neighbour: openai.OpenAI
) -> None:
    long = asked(max_output_tokens=LONG, background=True, stream=True, temperature=1)
    stream = strict.responses.create(**long)
    id = next(iter(stream)).response.id
    reader = iter(neighbour.responses.retrieve(id, stream=True, starting_after=2))
    first = next(reader)
    cancelled = neighbour.responses.cancel(id)
    rest = list(reader)

    assert first.sequence_number == 3
    assert cancelled.status == rest[-1].response.status == "cancelled"
    assert strict.responses.retrieve(id).output_text == cancelled.output_text != ""
    stream.close()


def test_in_the_background_it_is_completed_without_a_client(strict: openai.OpenAI) -> None:
    queued = strict.responses.create(**asked(background=True))

    assert queued.status == "queued"
    done = over(strict, queued.id)
    assert done.output_text == strict.responses.create(**asked()).output_text
    assert strict.responses.cancel(queued.id).status == done.status == "incomplete"


def test_what_it_will_cost_is_counted(strict: openai.OpenAI) -> None:
    first = strict.responses.create(**asked(instructions="Be brief."))
    wanted = {"model": "tiny", "input": "And?", "previous_response_id": first.id}
    counted = strict.responses.input_tokens.count(**wanted)

    assert counted.input_tokens == strict.responses.create(**asked(**wanted)).usage.input_tokens


def test_a_conversation_too_long_loses_its_oldest_turns_where_that_is_wanted(
    strict: openai.OpenAI,
) -> None:
    turn = {"role": "user", "content": QUESTION * 40}
    answer = {"role": "assistant", "content": "I see."}
    said = [turn, answer] * 30 + [{"role": "user", "content": QUESTION}]
    with pytest.raises(openai.BadRequestError) as refused:
        strict.responses.create(**asked(input=said))
    cut = strict.responses.create(**asked(input=said, truncation="auto"))

    assert refused.value.code == "context_length_exceeded"
    assert 6000 < cut.usage.input_tokens < 8192


def test_schemas_are_kept(strict: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "s", "schema": schema, "strict": True}}
    response = strict.responses.create(**asked(text=text, max_output_tokens=64))

    assert response.status == "completed"
    assert httpx.Response(200, text=response.output_text).json()["sure"] in (True, False)


@pytest.fixture(scope="module")
def own(start_mesh: OwnMesh, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    brief = make_tiny(tmp_path_factory.mktemp("models") / "brief", context_length=512)
    told = {"ODYSSAI_RESPONSES_TTL_S": "3600", "ODYSSAI_RESPONSES_MAX_MB": "64"}
    return start_mesh(tiny_model, brief, told=told).wait_until_it_serves(["tiny", "brief"])


def test_a_gateway_that_is_killed_leaves_what_it_stored_and_nothing_unfinished(own: Mesh) -> None:
    with client_of(own.url) as client:
        kept = client.responses.create(**asked())
        left = client.responses.create(**asked(max_output_tokens=LONG, background=True))
        until(lambda: client.responses.retrieve(left.id).status == "in_progress", 20)
    own.process_of("gateway").kill()
    until(lambda: _is_ready(own.url), READY_S, "a new gateway")

    with client_of(own.url) as client:
        assert client.responses.retrieve(kept.id) == kept
        failed = over(client, left.id)
        assert (failed.status, failed.error.code) == ("failed", "server_error")
        assert client.responses.create(**asked(previous_response_id=kept.id)).output_text


def test_responses_are_kept_for_as_long_as_was_set(own: Mesh) -> None:
    async def limits() -> tuple[float | None, int | None]:
        async with Bus.connect(own.access.url("doorkeeper"), "test:limits") as bus:
            config = (await bus.jetstream.stream_info(f"KV_{RESPONSES}")).config
            return config.max_age, config.max_bytes

    with client_of(own.url) as client:
        client.responses.create(**asked())

    assert asyncio.run(limits()) == (3600, 64 << 20)


def test_a_compacted_conversation_goes_on(own: Mesh) -> None:
    with client_of(own.url) as client:
        first = client.responses.create(**asked(model="brief"))
        compacted = client.responses.compact(model="brief", previous_response_id=first.id)
        items = [*(item.to_dict() for item in compacted.output), {"role": "user", "content": "Go!"}]
        after = client.responses.create(**asked(input=items))

    assert [item.type for item in compacted.output] == ["compaction"]
    assert compacted.usage.output_tokens > 0
    assert after.usage.input_tokens > compacted.usage.output_tokens
