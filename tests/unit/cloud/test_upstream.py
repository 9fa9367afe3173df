"""Another server's models, through the whole mesh: cloud, bus and gateway, without any engine."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from bus.connection import Bus
from proto.errors import MeshError
from proto.generation import Continuation, Generate
from proto.ids import GatewayId, ModelId, RequestId, fresh
from proto.prompt import Text
from proto.subjects import GENERATE
from tests.mesh.asking import posted, read
from tests.mesh.house import Command, Mesh, until
from tests.mesh.sockets import Socket
from tests.mesh.telemetry import Telemetry
from tests.unit.cloud.upstream import FLOOD, NOVEL, PIECES, TEXT, USAGE, Upstream, embedding

KEY = "upstream-key"
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream.running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mesh(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(
        tmp_path_factory.mktemp("cloud") / "home",
        [],
        {"ODYSSAI_UPSTREAMS": f"fake={upstream.url}", "ODYSSAI_UPSTREAM_FAKE_KEY": KEY},
        ["--only", "gateway,scheduler,cloud"],
    )
    yield mesh.wait_until_it_serves(["fake:some-model"])
    mesh.end()


def chat(model: str = "some-model", **asked: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "How is the sea?"}]
    return {"model": f"fake:{model}", "messages": turns, **asked}


def test_its_models_are_listed_under_its_name(gpt: openai.OpenAI) -> None:
    listed = {model.id: model for model in gpt.models.list()}

    assert {"fake:some-model", "fake:org/brief.v2"} <= set(listed)
    assert gpt.models.retrieve("fake:org/brief.v2").owned_by == "odyssai-cloud-fake"


def test_an_answer_comes_whole_with_the_upstream_s_numbers(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(**chat())

    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "some-model"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 5)
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


def test_an_answer_streams_piece_by_piece(gpt: openai.OpenAI) -> None:
    chunks = list(
        gpt.chat.completions.create(**chat(), stream=True, stream_options={"include_usage": True})
    )

    pieces = [c.delta.content for chunk in chunks for c in chunk.choices if c.delta.content]
    assert pieces == list(PIECES)
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 14
    assert read(chunks).finish == "stop"


WEATHER = {"name": "weather", "parameters": {"type": "object"}}


def test_calls_and_thoughts_come_through_whole(gpt: openai.OpenAI, upstream: Upstream) -> None:
    tools: Any = [{"type": "function", "function": WEATHER}]
    answer = gpt.chat.completions.create(**chat("caller", tools=tools, tool_choice="required"))

    choice = answer.choices[0]
    calls: Any = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("up_0", "weather", '{"city":"Oslo"}'), ("up_1", "clock", "{}"),
    ]  # fmt: skip
    assert choice.message.model_extra == {"reasoning_content": "Rain?"}
    assert answer.usage
    assert answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    asked = upstream.asked[-1]
    assert (asked["tools"], asked["tool_choice"]) == (tools, "required")


def test_calls_stream_piece_by_piece(gpt: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": WEATHER}]
    chunks = gpt.chat.completions.create(**chat("caller", tools=tools), stream=True)

    calls = [call for c in chunks for choice in c.choices for call in choice.delta.tool_calls or ()]
    assert [(call.index, call.id, call.function and call.function.arguments) for call in calls] == [
        (0, "up_0", ""), (0, None, '{"city":'), (0, None, '"Oslo"}'), (1, "up_1", ""),
        (1, None, "{}"),
    ]  # fmt: skip


def test_the_other_dialect_is_translated(mesh: Mesh) -> None:
    with anthropic.Anthropic(base_url=mesh.url, api_key="ours", max_retries=0) as claude:
        asked: Any = {**chat(), "max_tokens": 20}
        whole = claude.messages.create(**asked)
        with claude.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()

    for answer in (whole, streamed):
        assert "".join(b.text for b in answer.content if b.type == "text") == TEXT
        assert answer.stop_reason == "end_turn"
        assert (answer.usage.output_tokens, answer.usage.cache_read_input_tokens) == (5, 4)
        assert answer.usage.input_tokens == 5


def test_a_completion_goes_to_the_upstream_s_completions(
    gpt: openai.OpenAI, upstream: Upstream
) -> None:
    answer = gpt.completions.create(model="fake:org/brief.v2", prompt="The sea is")

    assert answer.choices[0].text == "Calm"
    assert answer.choices[0].finish_reason == "length"
    asked = upstream.asked[-1]
    assert (asked["path"], asked["model"]) == ("/v1/completions", "org/brief.v2")
    assert asked["prompt"] == "The sea is"


def test_what_was_asked_goes_on_as_it_came(mesh: Mesh, upstream: Upstream) -> None:
    body = (
        b'{ "messages":[{"role":"user","content":"\\u0048ow?","new":{"model":"kept"}}],\n'
        b' "tomorrow": [1.50, 1e3], "model" : "fake:some-model","seed":3 }'
    )
    with httpx.Client(base_url=mesh.url, timeout=20, trust_env=False) as http:
        whole = http.post(CHAT, content=body, headers=JSON)
        streamed = http.post(CHAT, content=body[:-1] + b',"stream":true}', headers=JSON)

    assert whole.json()["choices"][0]["message"]["content"] == TEXT
    said = body.replace(b"fake:some-model", b"some-model")
    asked = b'{"stream_options":{"include_usage":true},' + said[1:-1] + b',"stream":true}'
    assert upstream.bodies[-2:] == [said, asked]
    assert USAGE["total_tokens"] == 14
    assert "usage" not in streamed.text, "which was not asked for"
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_a_stream_comes_as_it_was_said_with_what_nobody_knows(mesh: Mesh) -> None:
    asked = chat("novel", stream=True, stream_options={"include_usage": True})

    assert posted(mesh, CHAT, asked).content == NOVEL.encode()


def test_the_upstream_gets_its_own_key_and_never_the_client_s(
    upstream: Upstream, mesh: Mesh
) -> None:
    assert set(upstream.keys) == {f"Bearer {KEY}"}
    assert KEY not in mesh.said.text + mesh.logs()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("busy", 429, "slow down"),
        ("broken", 502, "out of order"),
        ("picky", 400, "too hot"),
        ("org/absent", 404, "no such model upstream"),
        ("locked", 502, "refuses its key"),
        ("sorry", 502, "fell over"),
        ("odd", 502, "cannot be read"),
    ],
)
def test_what_fails_before_the_first_word_has_its_status(
    mesh: Mesh, model: str, status: int, words: str, stream: bool
) -> None:
    answer = posted(mesh, "/v1/chat/completions", chat(model, stream=stream))

    if stream and answer.status_code == 200:
        # The response had begun: the error is the stream's last event.
        assert '"error"' in answer.text.rstrip().splitlines()[-1]
        assert "[DONE]" not in answer.text
    else:
        assert answer.status_code == status
    assert words in answer.text
    assert "sk-secret" not in answer.text


def test_a_busy_upstream_s_time_to_wait_is_passed_on(mesh: Mesh) -> None:
    answer = posted(mesh, "/v1/chat/completions", chat("busy"))

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", ["cut", "garbled"])
def test_a_stream_that_breaks_off_ends_with_an_error(mesh: Mesh, model: str) -> None:
    streamed = posted(mesh, "/v1/chat/completions", chat(model, stream=True))
    whole = posted(mesh, "/v1/chat/completions", chat(model))

    assert "Calm" in streamed.text
    assert '"code":"upstream_error"' in streamed.text.rstrip().splitlines()[-1]
    assert "[DONE]" not in streamed.text
    assert whole.status_code == 502


async def test_an_upstream_is_read_no_faster_than_the_client_reads(
    mesh: Mesh, upstream: Upstream
) -> None:
    upstream.left.clear()
    async with (
        Telemetry.listen(mesh.access.url("ops")) as telemetry,
        Socket.send(mesh, "/v1/chat/completions", chat("flood", stream=True)) as client,
    ):
        held = await telemetry.engine(lambda beat: bool(beat.get("parked")), within_s=20)
        body = await client.read_all(b"[DONE]\n\n\r\n0\r\n\r\n")

    assert held["steps"] < FLOOD
    numbers = re.findall(rb"<(\d+)>", body)
    assert [int(number) for number in numbers] == list(range(FLOOD))


async def test_who_leaves_leaves_the_upstream_too(mesh: Mesh, upstream: Upstream) -> None:
    upstream.left.clear()
    async with (
        Telemetry.listen(mesh.access.url("ops")) as telemetry,
        openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="ours", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(**chat("endless"), stream=True)
        async for chunk in stream:
            if read([chunk]).text:
                break

        await stream.close()

        event = await telemetry.until("request", lambda told: told["status"] == "cancelled")
        await telemetry.idle()
    assert event["model"] == "fake:endless"
    assert upstream.left.wait(5)


@pytest.fixture
def stand_in(mesh: Mesh) -> str:
    """The upstream's engine id."""
    url = f"{mesh.url}/v1/models/fake:some-model"
    (engine,) = httpx.get(url, trust_env=False).json()["x_odyssai"]["engines"]
    return str(engine)


async def test_another_engine_s_answer_is_not_gone_on_with(mesh: Mesh, stand_in: str) -> None:
    asked = Generate(
        request=RequestId(fresh()),
        gateway=GatewayId("g.1"),
        model=ModelId("fake:some-model"),
        prompt=Text(text="Hi"),
        continues=Continuation(tokens=(1, 2)),
    )
    async with Bus.connect(mesh.access.url("gateway"), "test:continuing") as bus:
        with pytest.raises(MeshError) as refused:
            await bus.ask(GENERATE, asked, stand_in)

    assert refused.value.code.is_elsewhere_curable


def test_a_deadline_reaches_the_upstream(mesh: Mesh, upstream: Upstream) -> None:
    upstream.left.clear()
    answer = posted(mesh, "/v1/chat/completions", chat("endless"), X_Request_Timeout="0.4")

    assert answer.status_code == 504
    assert upstream.left.wait(5)


@pytest.mark.parametrize(
    ("path", "asked"), [("/tokenize", {"prompt": "Hi"}), ("/detokenize", {"tokens": [1]})]
)
def test_its_tokens_are_not_told(mesh: Mesh, path: str, asked: dict[str, Any]) -> None:
    answer = posted(mesh, path, {"model": "fake:some-model"} | asked)

    assert answer.status_code == 400
    assert "upstream" in answer.json()["error"]["message"]


def test_ollamas_clients_reach_it_as_well(mesh: Mesh) -> None:
    asked = {"model": "fake:some-model", "messages": chat()["messages"], "stream": False}
    listed = httpx.get(f"{mesh.url}/api/tags", trust_env=False).json()["models"]

    assert posted(mesh, "/api/chat", asked).json()["message"]["content"] == TEXT
    assert "fake:some-model" in {model["name"] for model in listed}
    vectors = posted(mesh, "/api/embed", {"model": "fake:some-model", "input": "Hi"})
    assert vectors.json()["embeddings"] == [[2.0, 0.5]]


def test_tokens_cannot_be_counted_there(mesh: Mesh) -> None:
    answer = posted(mesh, "/v1/messages/count_tokens", chat())

    assert answer.status_code == 400
    assert "upstream" in answer.json()["error"]["message"]


def test_the_contract_says_that_there_are_upstreams(mesh: Mesh) -> None:
    document = httpx.get(f"{mesh.url}/.well-known/inference-engine.json", trust_env=False).json()

    assert "cloud-passthrough" in document["features"]


def test_its_vectors_come_as_it_said_them(mesh: Mesh, upstream: Upstream) -> None:
    body = b'{"input": ["aaa","a"], "model":"fake:some-model", "tomorrow": 1.50}'
    answer = httpx.post(f"{mesh.url}/v1/embeddings", content=body, headers=JSON, trust_env=False)

    assert upstream.bodies[-1] == body.replace(b"fake:some-model", b"some-model")
    assert answer.json() == embedding({"input": ["aaa", "a"], "model": "some-model"})
    assert answer.headers["x-odyssai-engine"].startswith("cloud.fake")


async def test_vectors_are_counted(mesh: Mesh, gpt: openai.OpenAI) -> None:
    async with Telemetry.listen(mesh.access.url("ops")) as telemetry:
        vectors = gpt.embeddings.create(model="fake:some-model", input=["aaa", "a"])
        told = await telemetry.until("request")

    assert {vector.index: vector.embedding for vector in vectors.data} == {
        0: [3.0, 0.5], 1: [1.0, 0.5],
    }  # fmt: skip
    assert (told["endpoint"], told["prompt_tokens"]) == ("/v1/embeddings", 7)


def test_where_they_are_asked_for_in_other_words_vectors_come_in_the_order_of_the_texts(
    mesh: Mesh, upstream: Upstream
) -> None:
    asked = {"model": "fake:some-model", "input": ["aaa", "a", "aa"], "dimensions": 2}
    answer = posted(mesh, "/api/embed", asked)

    assert answer.json()["embeddings"] == [[3.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert answer.json()["prompt_eval_count"] == 7
    said = upstream.asked[-1]
    assert (said["input"], said["encoding_format"]) == (["aaa", "a", "aa"], "float")
    assert said["dimensions"] == 2


def test_it_ranks_where_it_can(mesh: Mesh, upstream: Upstream) -> None:
    body = {"model": "fake:some-model", "query": "q", "documents": ["a", "aaa", "aa"], "top_n": 2}
    answer = posted(mesh, "/v1/rerank", body).json()

    assert [(r["index"], r["relevance_score"]) for r in answer["results"]] == [(1, 0.3), (2, 0.2)]
    assert answer["usage"]["prompt_tokens"] == 8
    assert "top_n" not in upstream.asked[-1]


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("busy", 429, "slow down"),
        ("picky", 400, "too hot"),
        ("org/absent", 404, "no such model upstream"),
        ("broken", 502, "out of order"),
        ("sorry", 502, "fell over"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank"])
def test_its_refusal_of_texts_is_passed_on(
    mesh: Mesh, path: str, model: str, status: int, words: str
) -> None:
    asked = {"input": "a"} if path == "/v1/embeddings" else {"query": "q", "documents": ["a"]}
    answer = posted(mesh, path, {"model": f"fake:{model}"} | asked)

    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def said(stream: Iterable[ChatCompletionChunk]) -> str:
    return read(stream).text


@pytest.mark.timeout(120)
def test_streams_outlive_a_renewal_of_the_service(
    mesh: Mesh, gpt: openai.OpenAI, upstream: Upstream
) -> None:
    stream = gpt.chat.completions.create(**chat("patient"), stream=True)
    first = next(stream)
    renewal = Command("renew", "--home", str(mesh.home), "cloud")
    renewal.said.wait_for("cloud: serves", 60)
    renewal.end()

    assert said(gpt.chat.completions.create(**chat(), stream=True)) == TEXT
    upstream.may_end.set()
    assert said([first, *stream]) == TEXT
    until(lambda: len(mesh.pids("cloud")) == 1, 20, "the end of the one before")


def test_no_upstream_speaks_for_a_gateway_that_died_and_another_comes(
    mesh: Mesh, gpt: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.left.clear()
    stream = gpt.chat.completions.create(**chat("endless"), stream=True)
    next(stream)
    mesh.process_of("gateway").kill()

    assert upstream.left.wait(3.0 + 2.0), "within 3 s, and what a busy machine adds"
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        said(stream)
    assert gpt.with_options(max_retries=3).chat.completions.create(**chat())
    assert "Traceback" not in mesh.logs()
