"""Refusals, lost engines, deadlines, and clients that leave."""

import asyncio
import time

import anthropic as anthropic_sdk
import httpx
import openai as openai_sdk
import pytest

from bus import token_stream as streams
from proto.errors import Code, MeshError
from proto.frames import Failed, Progress
from proto.placement import Candidate, Schedule, Scheduled
from proto.subjects import SCHEDULE
from services.gateway import generate
from services.gateway.asking import dispatch, mesh, wait, watch
from tests.unit.gateway.scripted import ALIAS, MODEL, deltas, end, full, hello, silence

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": MODEL, "messages": HI}
MESSAGE = CHAT | {"max_tokens": 9}


async def both_heard(http: httpx.AsyncClient, *engines) -> None:
    """The gateway asks the first of them first, as the least busy."""
    while True:
        for place, engine in enumerate(engines):
            await engine.say(running=place)
        listed = (await http.get(f"/v1/models/{MODEL}")).json()
        if {engine.id for engine in engines} <= set(listed["x_odyssai"]["engines"]):
            return


async def twin_heard(http: httpx.AsyncClient, engine) -> None:
    """A busier engine of the same model: one alone is no choice, and nobody would be asked."""
    engines: list[str] = []
    while "n1.twin" not in engines:
        await engine.say(engine="n1.twin", boot="twin", running=3)
        listed = (await http.get(f"/v1/models/{MODEL}")).json()
        engines = listed["x_odyssai"]["engines"]


async def test_a_full_mesh_is_a_429_that_says_when_to_ask_again(http, scripted):
    scripted.refusal = full()

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
    assert answer.json()["error"]["type"] == "rate_limit_error"


async def test_a_full_mesh_is_the_vendors_error_to_both_sdks(openai, anthropic, scripted):
    scripted.refusal = full()

    with pytest.raises(openai_sdk.RateLimitError):
        await openai.chat.completions.create(**CHAT)
    with pytest.raises(anthropic_sdk.RateLimitError):
        await anthropic.messages.create(**MESSAGE)


async def test_the_next_engine_is_tried_when_the_first_is_full(http, scripted, other):
    await both_heard(http, scripted, other)
    scripted.refusal = full()

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.headers["x-odyssai-engine"] == other.id
    assert len(scripted.asked) == 1


async def test_what_no_engine_could_cure_is_refused_at_once(http, scripted, other):
    await both_heard(http, scripted, other)
    scripted.refusal = MeshError(Code.CONTEXT_OVERFLOW, "3000 tokens, 2048 fit.", param="messages")

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert other.asked == []


async def test_an_engine_lost_before_its_first_token_is_replaced(openai, http, scripted, other):
    await both_heard(http, scripted, other)

    async def die(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0))
        await engine.die()

    scripted.script = die
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert text == "Hello world"
    assert other.asked[0].epoch > scripted.asked[0].epoch


async def test_an_engine_lost_while_it_is_asked_is_replaced_at_once(http, scripted, other):
    await both_heard(http, scripted, other)

    async def never():
        await scripted.die()
        await scripted.die()  # Its agent and the health service both saw it.
        await asyncio.Event().wait()

    scripted.before_accepting = never
    answer = await asyncio.wait_for(http.post("/v1/chat/completions", json=CHAT), 2)

    assert answer.headers["x-odyssai-engine"] == other.id


async def test_an_engine_may_take_its_time_to_accept(http, scripted, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.0)
    scripted.before_accepting = lambda: asyncio.sleep(0.4)  # Longer than streams are looked at.

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.status_code == 200
    assert len(scripted.asked) == 1


async def test_an_engine_taken_for_lost_is_told_to_stop(http, scripted, other):
    await both_heard(http, scripted, other)
    scripted.script = silence
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
    await scripted.was_asked.wait()
    await scripted.die()

    assert (await asking).headers["x-odyssai-engine"] == other.id
    assert await asyncio.wait_for(scripted.cancelled.get(), 2) == scripted.asked[0].request


async def test_an_engine_that_falls_silent_is_noticed(http, scripted, other, monkeypatch):
    monkeypatch.setattr(watch, "SILENCE_S", 0.0)
    await both_heard(http, scripted, other)
    scripted.script = silence
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
    await scripted.was_asked.wait()

    monkeypatch.setattr(scripted, "beat", lambda beat=scripted.beat: beat(stalled_s=3.0))

    assert (await asking).headers["x-odyssai-engine"] == other.id


async def test_a_loss_that_nobody_makes_good_is_an_error_inside_the_stream(
    openai, scripted, monkeypatch
):
    monkeypatch.setattr(wait, "RECOVERY_S", 0.0)

    async def die_late(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0), *deltas(asked.epoch, "Half"))

    scripted.script = die_late
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    role, half = await anext(stream), await anext(stream)
    await scripted.die()

    assert role.choices[0].delta.role == "assistant"
    assert half.choices[0].delta.content == "Half"
    with pytest.raises(openai_sdk.APIError, match="lost"):
        await anext(stream)


async def test_a_failure_inside_a_message_stream_is_the_vendors_error_event(anthropic, scripted):
    async def fail(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0), *deltas(asked.epoch, "Half"))
        engine.send(asked, Failed(asked.epoch, 2, "internal_error", "It broke."))

    scripted.script = fail
    with pytest.raises(anthropic_sdk.APIStatusError, match="It broke"):
        async with anthropic.messages.stream(**MESSAGE) as stream:
            await stream.get_final_message()


async def test_a_failure_is_a_status_where_nothing_was_sent(http, scripted):
    async def fail(engine, asked):
        engine.send(asked, Failed(asked.epoch, 0, "internal_error", "It broke."))

    scripted.script = fail
    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "It broke.")


async def test_an_unknown_model_is_a_404_that_lists_what_there_is(openai, anthropic, choosy):
    with pytest.raises(openai_sdk.NotFoundError, match=r"GET /v1/models.*org/tiny-1\.0") as caught:
        await openai.chat.completions.create(model="nope", messages=HI)
    with pytest.raises(anthropic_sdk.NotFoundError, match="nope"):
        await anthropic.messages.create(model="nope", max_tokens=1, messages=HI)

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_without_a_scheduler_a_model_that_nobody_serves_is_no_404(http, monkeypatch):
    monkeypatch.setattr(wait, "PATIENCE_S", 0.0)

    answer = await http.post("/v1/chat/completions", json=CHAT | {"model": "on-disk"})

    assert answer.status_code == 503
    assert "no scheduler answers that could load it" in answer.json()["error"]["message"]


async def test_a_scheduler_that_has_not_heard_of_an_engine_yet_is_not_believed(
    http, scripted, choosy
):
    await twin_heard(http, scripted)

    assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_a_scheduler_that_stands_still_costs_one_request_less_than_a_second(
    http, scripted, bus
):
    asked = 0

    async def think(_: Schedule) -> None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    await bus.answer(SCHEDULE, think, group="scheduler")
    await twin_heard(http, scripted)
    begun = time.monotonic()

    assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert 0.3 < time.monotonic() - begun < 1.0
    for _ in range(5):
        assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert asked == 1


async def test_after_a_detour_schedulers_are_asked_again(http, scripted, bus, monkeypatch):
    monkeypatch.setattr(mesh, "DETOUR_S", 0.0)
    asked = []

    async def wake(question: Schedule) -> Scheduled:
        asked.append(question)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return Scheduled(candidates=(Candidate(engine=scripted.id, boot=scripted.boot),))

    await bus.answer(SCHEDULE, wake, group="scheduler")
    await twin_heard(http, scripted)

    assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert len(asked) == 2


async def test_a_model_that_recovers_is_waited_for(http, scripted):
    await scripted.say(state="loading")
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
    await scripted.say(state="loading")
    await scripted.say()

    assert (await asking).status_code == 200


async def test_a_model_that_does_not_recover_is_a_503(http, scripted, monkeypatch):
    monkeypatch.setattr(wait, "PATIENCE_S", 0.0)
    monkeypatch.setattr(scripted, "beat", lambda beat=scripted.beat: beat(state="loading"))
    await scripted.say()

    answer = await http.post("/v1/messages", json=MESSAGE)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["type"] == "overloaded_error"


async def test_a_deadline_reaches_the_engine_and_is_a_504(http, scripted, monkeypatch):
    monkeypatch.setattr(generate, "OVERTIME_S", 0.0)
    scripted.script = silence

    answer = await http.post(
        "/v1/chat/completions", json=CHAT, headers={"X-Request-Timeout": "0.05"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert scripted.asked[0].left_s is not None
    assert await scripted.cancelled.get() == scripted.asked[0].request


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(seconds):
    with pytest.raises(MeshError) as caught:
        generate._seconds(seconds)

    assert caught.value.code is Code.INVALID_REQUEST


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_generation(http, scripted, events, stream):
    scripted.script = silence
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT | {"stream": stream}))
    await scripted.was_asked.wait()
    asking.cancel()

    assert await asyncio.wait_for(scripted.cancelled.get(), 2) == scripted.asked[0].request
    assert (await events.get()).status == "cancelled"


async def test_a_client_that_leaves_between_tokens_ends_its_generation(openai, scripted, events):
    async def begin(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0), *deltas(asked.epoch, "a"))

    scripted.script = begin
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    await anext(stream)
    await stream.close()

    assert await asyncio.wait_for(scripted.cancelled.get(), 2) == scripted.asked[0].request
    told = await events.get()
    assert (told.status, told.prompt_tokens, told.completion_tokens) == ("cancelled", 10, 1)


async def test_a_client_that_leaves_before_the_engine_has_accepted_ends_it(http, scripted):
    async def never():
        await asyncio.Event().wait()

    scripted.before_accepting = never
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
    await scripted.was_asked.wait()
    asking.cancel()

    assert await asyncio.wait_for(scripted.cancelled.get(), 2)


async def test_a_cancel_is_repeated_until_the_engine_has_heard_it(http, scripted):
    scripted.script = silence
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT))
    await scripted.was_asked.wait()
    asking.cancel()
    first, second = await scripted.cancelled.get(), await scripted.cancelled.get()
    scripted.send(scripted.asked[0], Failed(0, 0, "cancelled", ""))

    assert first == second
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scripted.cancelled.get(), 1.5)


async def test_a_finished_generation_is_not_cancelled(openai, scripted):
    await openai.chat.completions.create(**CHAT, n=2)
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    assert [chunk async for chunk in stream]

    assert scripted.cancelled.empty()


async def test_a_silent_engine_shows_as_signs_of_life(http, scripted, monkeypatch):
    monkeypatch.setattr(dispatch, "SILENT_S", 0.01)
    go = asyncio.Event()

    async def wait(engine, asked):
        await go.wait()
        await hello(engine, asked)

    scripted.script = wait
    async with http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        body = ""
        async for text in answer.aiter_text():
            body += text
            go.set()

    assert body.startswith(": waiting\n\n")
    assert ": prefill 10/10\n\n" in body
    assert body.endswith("data: [DONE]\n\n")


async def test_an_open_stream_may_finish_while_the_gateway_stops(openai, scripted, host):
    go = asyncio.Event()

    async def wait(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 0), *deltas(asked.epoch, "a"))
        await go.wait()
        engine.send(asked, *deltas(asked.epoch, "b", start=2), end(asked.epoch, 3))

    scripted.script = wait
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    await anext(stream)
    host.stopping.set()
    go.set()

    assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


async def test_what_does_not_finish_is_told_that_the_gateway_stops(openai, scripted, host):
    scripted.script = silence
    stream = await openai.chat.completions.create(**CHAT, stream=True)
    host.stopping.set()

    with pytest.raises(openai_sdk.APIError, match="stopping"):
        await anext(stream)
    assert await scripted.cancelled.get() == scripted.asked[0].request


async def test_each_request_is_told_to_operators_at_its_end(http, scripted, events):
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    await http.post("/v1/chat/completions", json=CHAT | {"model": ALIAS}, headers=headers)
    ok = await events.get()

    assert (ok.status, ok.model, ok.engine, ok.dialect) == ("ok", ALIAS, scripted.id, "openai")
    assert (ok.prompt_tokens, ok.completion_tokens, ok.cached_tokens) == (10, 2, 4)
    assert (ok.tokens_per_s, ok.finish_reason, ok.trace) == (10, "stop", "a" * 32)
    assert 0 < ok.ttft_s <= ok.duration_s


async def test_refused_requests_are_told_as_well(http, scripted, events):
    await http.post("/v1/messages", content=b"{")
    malformed = await events.get()
    scripted.refusal = full()
    await http.post("/v1/messages", json=MESSAGE)

    assert (malformed.status, malformed.dialect) == ("invalid_request", "anthropic")
    assert ((await events.get()).status, malformed.engine) == ("queue_full", None)
