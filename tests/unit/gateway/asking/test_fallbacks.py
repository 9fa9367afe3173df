"""A model that cannot take a request, and the models of its chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from proto.config import Config, KeyConfig, ModelConfig
from proto.errors import Code, MeshError
from proto.frames import Delta, Failed
from proto.generation import Generate
from proto.keys import hash_of
from services.gateway.asking import wait
from tests.unit.gateway.scripted import MODEL, ScriptedEngine, engine, full, scheduler

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": MODEL, "messages": HI}
STREAM = CHAT | {"stream": True}
SECOND, THIRD = "up:second", "up:third"
CHAIN = Config(fallbacks={MODEL: [SECOND, THIRD]})
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@asynccontextmanager
async def serving(
    url: str, http: httpx.AsyncClient, model: str, **can
) -> AsyncIterator[ScriptedEngine]:
    async with engine(url, model.partition(":")[2]) as one:
        one.can = {"id": model, "aliases": (), "calls_tools": True} | can
        while (await http.get(f"/v1/models/{model}")).is_error:
            await one.say()
        yield one


@pytest.fixture
async def second(nats_url, http) -> AsyncIterator[ScriptedEngine]:
    async with serving(nats_url, http, SECOND) as one:
        yield one


@pytest.fixture
async def third(nats_url, http) -> AsyncIterator[ScriptedEngine]:
    async with serving(nats_url, http, THIRD) as one:
        yield one


def failing(code: Code, *before: str):
    """Fails after so much of an answer."""

    async def script(engine: ScriptedEngine, asked: Generate) -> None:
        engine.send(asked, *(Delta(asked.epoch, i, piece, ()) for i, piece in enumerate(before)))
        engine.send(asked, Failed(asked.epoch, len(before), code.word, "broken", None, None))

    return script


async def test_the_next_model_answers_under_the_name_that_was_asked_for(
    http, scripted, second, third, decide, events
):
    await decide(CHAIN)
    scripted.refusal = full()

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.json()["choices"][0]["message"]["content"] == "Hello world"
    assert answer.json()["model"] == MODEL
    assert answer.headers["x-odyssai-route"] == f"{MODEL} > {SECOND}"
    assert answer.headers["x-odyssai-engine"] == second.id
    assert (await events.get()).route == (MODEL, SECOND)
    assert second.asked[0].model == SECOND
    assert third.asked == []


async def test_without_a_fault_nobody_else_is_asked(http, second, decide):
    await decide(CHAIN)

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.headers["x-odyssai-route"] == MODEL
    assert second.asked == []


@pytest.mark.parametrize(
    "code",
    [
        Code.QUEUE_FULL, Code.NO_ENGINE, Code.ENGINE_LOST, Code.UPSTREAM, Code.UPSTREAM_DOWN,
        Code.MODEL_NOT_FOUND, Code.NO_MEMORY, Code.INTERNAL,
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", ["when it is asked", "once it has accepted"])
async def test_whatever_is_no_fault_of_the_request_falls_back(
    http, scripted, second, decide, code, after
):
    await decide(CHAIN)
    if after == "when it is asked":
        scripted.refusal = MeshError(code, "no")
    else:
        scripted.script = failing(code)

    answer = await http.post("/v1/chat/completions", json=STREAM)

    assert answer.headers["x-odyssai-route"] == f"{MODEL} > {SECOND}"
    assert "Hello" in answer.text
    assert answer.text.rstrip().endswith("[DONE]")


@pytest.mark.parametrize(
    "code", [Code.INVALID_REQUEST, Code.UNSUPPORTED_PARAMETER, Code.CONTEXT_OVERFLOW]
)
async def test_a_fault_of_the_request_is_told(http, scripted, second, decide, code):
    await decide(CHAIN)
    scripted.refusal = MeshError(code, "your fault")

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 400
    assert "your fault" in answer.json()["error"]["message"]
    assert second.asked == []


async def test_a_model_that_is_not_there_is_not_waited_for(http, second, decide, monkeypatch):
    monkeypatch.setattr(wait, "PATIENCE_S", 60.0)
    await decide(Config(fallbacks={"gone": [SECOND]}))

    async with asyncio.timeout(5):
        answer = await http.post("/v1/chat/completions", json=CHAT | {"model": "gone"})

    assert answer.headers["x-odyssai-route"] == f"gone > {SECOND}"
    assert answer.json()["model"] == "gone"


async def test_a_stream_that_has_said_something_never_begins_anew(http, scripted, second, decide):
    await decide(CHAIN)
    is_told = asyncio.Event()

    async def break_off(engine: ScriptedEngine, asked: Generate) -> None:
        engine.send(asked, Delta(asked.epoch, 0, "Once", ()))
        await is_told.wait()
        engine.send(asked, Failed(asked.epoch, 1, Code.UPSTREAM.word, "broken", None, None))

    scripted.script = break_off
    lines = []
    async with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if "Once" in line:
                is_told.set()

    assert '"code":"upstream_error"' in [line for line in lines if line][-1]
    assert "data: [DONE]" not in lines
    assert second.asked == []


async def test_an_answer_that_is_gathered_begins_anew_as_long_as_nobody_has_it(
    http, scripted, second, decide
):
    await decide(CHAIN)
    scripted.script = failing(Code.UPSTREAM, "Hel")

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.json()["choices"][0]["message"]["content"] == "Hello world"


async def test_the_whole_chain_is_tried_and_what_all_said_is_told(
    http, scripted, second, third, decide
):
    await decide(CHAIN)
    scripted.refusal = MeshError(Code.UPSTREAM_DOWN, "down")
    second.refusal = full()
    third.script = failing(Code.UPSTREAM)

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
    said = answer.json()["error"]["message"]
    assert f"{MODEL}: down" in said
    assert f"{THIRD}: broken" in said


async def test_an_alias_and_a_pattern_have_chains_and_targets_may_be_aliases(
    http, scripted, second, third, decide
):
    scripted.refusal = full()
    chains = {"fast": ["spare"], "org/*": [THIRD]}
    await decide(Config(aliases={"fast": MODEL, "spare": SECOND}, fallbacks=chains))

    by_alias = await http.post("/v1/chat/completions", json=CHAT | {"model": "fast"})
    by_pattern = await http.post("/v1/chat/completions", json=CHAT)

    assert by_alias.headers["x-odyssai-route"] == f"{MODEL} > {SECOND}"
    assert by_pattern.headers["x-odyssai-route"] == f"{MODEL} > {THIRD}"


async def test_each_model_has_its_own_defaults(http, scripted, second, decide):
    models = {MODEL: ModelConfig(temperature=0.1), SECOND: ModelConfig(system_prefix="Be brief.")}
    await decide(Config(fallbacks=CHAIN.fallbacks, models=models))
    scripted.refusal = full()

    await http.post("/v1/chat/completions", json=CHAT)

    assert scripted.asked[0].sampling.temperature == 0.1
    assert second.asked[0].sampling.temperature == 1.0
    assert second.asked[0].prompt.turns[0].text == "Be brief."


async def test_a_key_falls_back_to_models_that_it_may_use_and_no_others(
    http, scripted, second, third, decide
):
    key = KeyConfig(sha256=hash_of(b"secret"), models=[MODEL, THIRD])
    await decide(
        Config(fallbacks=CHAIN.fallbacks, keys={"anna": key}, others=KeyConfig(scopes=["models"]))
    )
    scripted.refusal = full()

    answer = await http.post(
        "/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer secret"}
    )

    assert answer.headers["x-odyssai-route"] == f"{MODEL} > {THIRD}"
    assert second.asked == []


async def test_a_model_that_cannot_see_is_skipped_where_there_is_something_to_see(
    http, nats_url, scripted, second, decide
):
    scripted.can = {"kind": "vlm"}
    scripted.refusal = full()
    await decide(CHAIN)
    seen = {"type": "image_url", "image_url": {"url": PIXEL}}
    turn = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, seen]}

    async with serving(nats_url, http, THIRD, kind="vlm") as sighted:
        while (await http.get(f"/v1/models/{MODEL}")).json()["x_odyssai"]["kind"] != "vlm":
            await scripted.say()
        answer = await http.post("/v1/chat/completions", json=CHAT | {"messages": [turn]})
        (image,) = sighted.asked[0].prompt.images

    assert answer.headers["x-odyssai-route"] == f"{MODEL} > {THIRD}"
    assert image.digest, "held for it as for the first"
    assert second.asked == []


async def test_what_another_model_cannot_do_is_not_the_client_s_fault(
    http, scripted, second, third, decide
):
    await decide(CHAIN)
    scripted.refusal = full()
    second.refusal = MeshError(Code.CONTEXT_OVERFLOW, "too long for me")

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.headers["x-odyssai-route"] == f"{MODEL} > {SECOND} > {THIRD}"


async def test_an_engine_that_dies_before_a_word_is_followed_by_another_model(
    http, scripted, second, decide
):
    await decide(CHAIN)

    async def die(engine: ScriptedEngine, asked: Generate) -> None:
        engine.about = {"state": "draining"}
        await engine.say()
        await engine.die()

    scripted.script = die

    async with asyncio.timeout(8):
        answer = await http.post("/v1/chat/completions", json=STREAM)

    assert "Hello" in answer.text
    assert answer.text.rstrip().endswith("[DONE]")


async def test_other_dialects_fall_back_as_well(http, scripted, second, decide):
    await decide(CHAIN)
    scripted.refusal = full()
    posts = {
        "/v1/messages": STREAM | {"max_tokens": 9},
        "/v1/responses": {"model": MODEL, "input": "Hi", "stream": True},
        "/v1/completions": {"model": MODEL, "prompt": "Hi", "stream": True},
        "/api/chat": CHAT,
    }

    for path, body in posts.items():
        answer = await http.post(path, json=body)
        assert answer.headers["x-odyssai-route"] == f"{MODEL} > {SECOND}", path
        assert "Hello" in answer.text, path


async def test_a_model_that_is_being_loaded_is_waited_for_and_one_that_cannot_be_is_not(
    nats_url, http, second, decide
):
    await decide(Config(fallbacks={"stored": [SECOND]}))
    body = CHAT | {"model": "stored"}
    async with scheduler(nats_url) as scripted:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        await scripted.questions.get()
        await scripted.questions.get()
        assert second.asked == []

        scripted.refusal = MeshError(Code.LOAD_FAILED, "its files are broken")
        answer = await asking

    assert answer.headers["x-odyssai-route"] == f"stored > {SECOND}"
