"""What Ollama's own client gets from a gateway, sync and async, and what others see."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from ollama import AsyncClient, Client, ResponseError

from proto.errors import Code, MeshError
from proto.format import JsonSchema
from proto.frames import CallDelta, Delta, Failed, Progress
from proto.ids import ModelId
from proto.jobs import Pull, Remove
from proto.presence import ModelCard
from proto.prompt import Chat, Text, Thinking
from tests.scripted_leader import leader
from tests.unit.gateway.scripted import ALIAS, MODEL, ScriptedEngine, end

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(host=url) as client:
        yield client


async def able(scripted: ScriptedEngine, http: httpx.AsyncClient, **flags: object) -> None:
    """Let the model do more, and wait until the gateway has heard of it."""
    before = (await http.get(f"/v1/models/{MODEL}")).json()
    scripted.can |= flags
    while (await http.get(f"/v1/models/{MODEL}")).json() == before:
        await scripted.say()


async def read(client: AsyncClient, model: str, stream: bool = True) -> list[str | None]:
    answer = await client.chat(model, HI, stream=stream)
    parts = [part async for part in answer] if stream else [answer]
    return [part.message.content for part in parts]


async def thinks_and_calls(engine, asked) -> None:
    epoch = asked.epoch
    engine.send(
        asked,
        Progress(epoch, 0, 10, 10, 4),
        Delta(epoch, 1, "Let me see.", (1,), channel="reasoning"),
        CallDelta(epoch, 2, 0, "c1", "weather", '{"city":', (2,)),
        CallDelta(epoch, 3, 0, "", "", '"Rome"}', (3,)),
        CallDelta(epoch, 4, 1, "c2", "time", "{}", (4,)),
        end(epoch, 5, reason="tool_calls"),
    )


def weather(city: str) -> str:
    """How it is outside.

    Args:
        city: Which city.

    Returns:
        In one word.
    """
    return city


async def test_a_chat_is_answered_under_the_name_that_was_asked_for(client, scripted):
    answer = await client.chat(f"{ALIAS}:latest", HI, options={"seed": 3, "num_predict": 7})
    (asked,) = scripted.asked

    assert (answer.message.content, answer.model) == ("Hello world", f"{ALIAS}:latest")
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (10, 2)
    assert (answer.prompt_eval_duration, answer.eval_duration) == (100_000_000, 200_000_000)
    assert (asked.model, asked.sampling.seed, asked.max_tokens) == (ALIAS, 3, 7)


async def test_a_chat_is_streamed(client):
    parts = [part async for part in await client.chat(MODEL, HI, stream=True)]

    assert "".join(part.message.content for part in parts) == "Hello world"
    assert [part.done for part in parts[-2:]] == [False, True]
    assert parts[-1].eval_count == 2


async def test_it_streams_unless_it_is_told_not_to(http):
    streamed = await http.post("/api/chat", json={"model": MODEL, "messages": HI})
    whole = await http.post("/api/chat", json={"model": MODEL, "messages": HI, "stream": False})

    assert streamed.headers["content-type"] == "application/x-ndjson"
    assert len(streamed.text.splitlines()) > 1
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["message"] == {"role": "assistant", "content": "Hello world"}


async def test_thoughts_and_calls_reach_the_client_as_objects(client, http, scripted):
    await able(scripted, http, calls_tools=True, reasons=True)
    scripted.script = thinks_and_calls
    answer = await client.chat(MODEL, HI, tools=[weather], think="low")
    parts = [p async for p in await client.chat(MODEL, HI, tools=[weather], stream=True)]

    for said in ([answer], parts):
        calls = [call.function for part in said for call in part.message.tool_calls or ()]
        assert [(call.name, dict(call.arguments)) for call in calls] == [
            ("weather", {"city": "Rome"}),
            ("time", {}),
        ]
        assert "".join(part.message.thinking or "" for part in said) == "Let me see."
    prompt = scripted.asked[0].prompt
    assert isinstance(prompt, Chat)
    assert prompt.tools[0].name == "weather"
    assert prompt.tools[0].parameters["properties"]["city"]["type"] == "string"
    assert prompt.thinking == Thinking(enabled=True, effort="low")


async def test_an_answer_sent_back_is_understood(client, http, scripted):
    await able(scripted, http, calls_tools=True)
    scripted.script = thinks_and_calls
    answer = await client.chat(MODEL, HI, tools=[weather])
    told = {"role": "tool", "content": "sunny", "tool_name": "weather"}
    await client.chat(MODEL, [*HI, answer.message, told], tools=[weather])
    _, said, answered = scripted.asked[1].prompt.turns

    assert (said.reasoning, said.calls[0].arguments) == ("Let me see.", '{"city":"Rome"}')
    assert answered.call_id == said.calls[0].id


async def test_a_prompt_is_completed(client, scripted):
    whole = await client.generate(MODEL, "Hi", system="Be brief.")
    parts = [part async for part in await client.generate(MODEL, "Hi", raw=True, stream=True)]

    assert whole.response == "".join(part.response for part in parts) == "Hello world"
    chat, raw = (asked.prompt for asked in scripted.asked)
    assert [turn.role for turn in chat.turns] == ["system", "user"]
    assert raw == Text(text="Hi")


async def test_a_schema_reaches_the_engine(client, http, scripted):
    await able(scripted, http, keeps_formats=True)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await client.chat(MODEL, HI, format=schema)

    assert scripted.asked[0].format == JsonSchema(schema=schema)


async def test_what_has_no_effect_is_told_in_a_header(http):
    odd = {"model": MODEL, "messages": HI, "keep_alive": 5, "a\r\nb: c": 1}
    answer = await http.post("/api/chat", json=odd | {"options": {"num_ctx": 1}})

    assert answer.status_code == 200
    assert answer.headers["x-odyssai-ignored"] == "keep_alive, ?, options.num_ctx"
    assert "b" not in answer.headers


@pytest.mark.parametrize(("keep_alive", "reason"), [("5m", "load"), (None, "load"), (0, "unload")])
async def test_a_request_without_words_generates_nothing(client, scripted, keep_alive, reason):
    chatted = await client.chat(MODEL, [], keep_alive=keep_alive)
    completed = await client.generate(f"{MODEL}:latest", keep_alive=keep_alive)

    assert (chatted.done, chatted.done_reason, chatted.message.content) == (True, reason, "")
    assert (completed.done, completed.done_reason, completed.response) == (True, reason, "")
    assert scripted.asked == []


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_not_found_in_the_vendors_words(client, stream):
    with pytest.raises(ResponseError, match="model 'absent' not found") as caught:
        await read(client, "absent", stream)
    with pytest.raises(ResponseError, match="not found"):
        await client.show("absent")
    with pytest.raises(ResponseError, match="not found"):
        await client.generate("absent")

    assert caught.value.status_code == 404


async def test_what_a_model_cannot_do_is_refused_in_the_vendors_words(client):
    with pytest.raises(ResponseError, match=f'"{ALIAS}" does not support thinking') as thinking:
        await client.chat(ALIAS, HI, think=True)
    with pytest.raises(ResponseError, match="does not support tools"):
        await client.chat(ALIAS, HI, tools=[weather])
    with pytest.raises(ResponseError, match="does not support structured outputs"):
        await client.chat(ALIAS, HI, format="json")
    with pytest.raises(ResponseError, match="does not support embeddings"):
        await client.embed(ALIAS, "Hi")

    assert thinking.value.status_code == 400
    assert (await client.chat(ALIAS, HI, think=False)).done


async def test_an_embedder_makes_vectors_and_nothing_else(client, http, scripted):
    await able(scripted, http, kind="embedder", embedding_size=2)
    many = await client.embed(f"{ALIAS}:latest", ["a", "b"], dimensions=2, keep_alive="1m")
    one = await client.embeddings(ALIAS, "a")
    none = await client.embed(ALIAS, [])
    shown = await client.show(ALIAS)

    assert [list(map(float, vector)) for vector in many.embeddings] == [
        [pytest.approx(0.6), pytest.approx(0.8)]
    ] * 2
    assert (many.model, many.prompt_eval_count) == (f"{ALIAS}:latest", 6)
    assert list(one.embedding) == [pytest.approx(0.6), pytest.approx(0.8)]
    assert none.embeddings == []
    assert (scripted.embedded[0].dimensions, scripted.embedded[0].model) == (2, ALIAS)
    assert (shown.capabilities, shown.modelinfo["unknown.embedding_length"]) == (["embedding"], 2)
    with pytest.raises(ResponseError, match="does not support chat"):
        await client.chat(ALIAS, HI)


async def test_models_are_listed_shown_and_running(client, scripted):
    listed = await client.list()
    shown = await client.show(f"{MODEL}:latest")
    running = await client.ps()

    assert [model.model for model in listed.models] == [f"{MODEL}:latest", f"{ALIAS}:latest"]
    assert len({model.digest for model in listed.models}) == 1
    assert listed.models[0].modified_at.year == 2023
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo["general.basename"] == f"{MODEL}:latest"
    assert shown.modelinfo["unknown.context_length"] == 2048
    assert [(model.name, model.context_length) for model in running.models] == [
        (f"{MODEL}:latest", 2048)
    ]
    assert running.models[0].expires_at.year == 9999
    assert running.models[0].digest == listed.models[0].digest


async def test_an_upstreams_model_keeps_its_own_tag_and_may_do_anything(
    client, http, scripted, monkeypatch
):
    card = ModelCard(id=ModelId("up:llama:latest"), context_length=2048)
    beat = scripted.beat(models=(card,), upstream="http://up")
    # Its every heartbeat from now on, so that none takes it back.
    monkeypatch.setattr(scripted, "beat", lambda **_: beat)
    while "up:llama:latest" not in (await http.get("/v1/models")).text:
        await scripted.say()

    assert [model.model for model in (await client.list()).models] == ["up:llama:latest"]
    assert (await client.ps()).models == []
    assert (await client.chat("up:llama:latest", HI, think=True)).message.content == "Hello world"


async def test_the_version_is_one_that_clients_accept(http):
    version = (await http.get("/api/version")).json()["version"]

    assert tuple(map(int, version.split("."))) > (0, 12, 0)
    assert (await http.head("/")).status_code == 200
    assert (await http.head("/api/version")).status_code == 200


async def test_a_model_that_is_here_is_as_good_as_pulled(client):
    assert (await client.pull(ALIAS)).status == "success"
    assert [p.status async for p in await client.pull(ALIAS, stream=True)] == ["success"]
    with pytest.raises(ResponseError, match=r"'absent' is not here.*Hugging Face hub"):
        await client.pull("absent")


async def test_models_are_not_made_here(client):
    for refuse in (client.copy(ALIAS, "b"), client.create("b", from_=ALIAS), client.push(ALIAS)):
        with pytest.raises(ResponseError, match="neither made nor pushed") as caught:
            await refuse
        assert caught.value.status_code == 400


async def test_a_pull_tells_how_far_it_is(client, nats_url):
    async with leader(nats_url) as leading:
        lines = await client.pull("org/new", stream=True)
        first = await anext(aiter(lines))
        job = await leading.followed_job()
        await leading.fetch(job.id, 250)
        await leading.tell(job.id, state="done")
        rest = [line async for line in lines]

    assert leading.submitted[0].order == Pull(model=ModelId("org/new"))
    assert first.status == "pulling manifest"
    assert ("pulling org/new", 250, 1000) in [(p.status, p.completed, p.total) for p in rest]
    assert rest[-1].status == "success"


@pytest.mark.parametrize("streams", [True, False])
async def test_a_pull_that_fails_is_raised_by_the_client(client, nats_url, streams):
    why = MeshError(Code.NO_DISK, "It needs 9 GB of disk; 1 GB is free.").refusal()
    async with leader(nats_url) as leading:
        leading.begins_as = {"state": "failed", "error": why}
        with pytest.raises(ResponseError, match="It needs 9 GB of disk"):
            [line async for line in await client.pull("org/new", stream=True)] if streams else (
                await client.pull("org/new")
            )


async def test_a_model_is_deleted_everywhere(client, nats_url):
    async with leader(nats_url) as leading:
        leading.begins_as = {"state": "done"}
        assert (await client.delete("org/old:latest")).status == "success"

    assert leading.submitted[0].order == Remove(model=ModelId("org/old"))


async def test_a_page_of_another_origin_brings_and_removes_nothing(http):
    page = {"origin": "https://evil.example"}
    pulled = await http.post("/api/pull", json={"model": "org/new"}, headers=page)
    deleted = await http.request("DELETE", "/api/delete", json={"model": MODEL}, headers=page)

    assert (pulled.status_code, deleted.status_code) == (403, 403)
    assert "another origin" in deleted.json()["error"]


async def test_a_failure_in_the_middle_is_raised_by_the_client(client, scripted):
    async def fails(engine, asked) -> None:
        engine.send(asked, Progress(asked.epoch, 0, 1, 1, 0), Delta(asked.epoch, 1, "Hm", (1,)))
        engine.send(asked, Failed(asked.epoch, 2, Code.INTERNAL.word, "It broke."))

    scripted.script = fails
    with pytest.raises(ResponseError, match="It broke"):
        await read(client, MODEL)


async def test_the_sync_client_is_served_as_well(url):
    def ask() -> tuple[str | None, str]:
        with Client(host=url) as client:
            whole = client.chat(MODEL, HI).message.content
            parts = client.generate(MODEL, "Hi", stream=True)
            return whole, "".join(part.response for part in parts)

    assert await asyncio.to_thread(ask) == ("Hello world", "Hello world")


async def test_a_request_is_told_to_operators_in_its_dialect(client, events):
    await client.chat(ALIAS, HI)
    event = await asyncio.wait_for(events.get(), 5)

    assert (event.dialect, event.endpoint, event.status) == ("ollama", "/api/chat", "ok")


@pytest.mark.parametrize("path", ["chat", "generate", "embed", "embeddings", "show", "pull"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"\xff"}', b'{"model": 5}', b"{}"])
async def test_a_malformed_body_is_a_400_in_one_sentence(http, path, body):
    answer = await http.post(f"/api/{path}", content=body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


async def test_curl_need_not_be_told_the_content_type_but_a_page_must(http):
    body = json.dumps({"model": MODEL, "messages": HI, "stream": False})
    form = {"content-type": "application/x-www-form-urlencoded"}

    assert (await http.post("/api/chat", content=body, headers=form)).status_code == 200
    foreign = form | {"origin": "https://evil.example"}
    assert (await http.post("/api/chat", content=body, headers=foreign)).status_code == 400


async def test_a_wrong_method_is_told_in_the_dialect(http):
    answer = await http.get("/api/chat")

    assert answer.status_code == 405
    assert answer.json() == {"error": "/api/chat takes POST, not GET."}
