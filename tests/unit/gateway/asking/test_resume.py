"""Another engine goes on with an answer whose own was lost: scripted engines die by the letter."""

import asyncio
import json

import openai as openai_sdk
import pytest

from bus import token_stream as streams
from bus.presence import farewell
from proto.errors import Code, MeshError
from proto.frames import CallDelta, Delta, End, Failed, Progress, Timings, Usage
from proto.presence import Gone
from services.gateway.asking import dispatch, setbacks, wait, watch
from services.gateway.asking.delivered import Delivered
from tests.unit.gateway.scripted import MODEL, engine
from tests.unit.gateway.test_faults import both_heard

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
STREAM = CHAT | {"stream": True}
WORDS = ("One", ",", " two", ",", " three")
"""A word a token, whose id is its place."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(wait, "POLL_S", 0.02)
    monkeypatch.setattr(wait, "LONGEST_POLL_S", 0.02)


def speaking(upto=None, last=None):
    """A script that says all words, or those before ``upto``, from where the request goes on.

    ``last`` makes what comes then of the engine and what it was asked.
    """

    async def script(engine, asked):
        begun = len(asked.continues.tokens) if asked.continues else 0
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 4))
        for seq, token in enumerate(range(begun, len(WORDS) if upto is None else upto), 1):
            engine.send(asked, Delta(asked.epoch, seq, WORDS[token], (token,)))
        seq = max(0, (len(WORDS) if upto is None else upto) - begun) + 1
        if last is not None:
            await last(engine, asked, seq)
        elif upto is None:
            usage = Usage(10, len(WORDS), 4)
            engine.send(asked, End(asked.epoch, seq, "stop", usage, Timings(0, 0.1, 0.2)))

    return script


async def dies(engine, asked, seq):
    await engine.sink.settled()
    await engine.die()


def failing(code, message="It broke."):
    async def fail(engine, asked, seq):
        engine.send(asked, Failed(asked.epoch, seq, code, message))

    return fail


async def streamed(openai):
    stream = await openai.chat.completions.create(**STREAM, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return said, chunks[-1].usage


@pytest.mark.parametrize("last", [dies, failing("engine_lost")])
async def test_a_client_sees_one_stream_that_another_engine_goes_on_with(
    openai, http, scripted, other, last, events
):
    await both_heard(http, scripted, other)
    scripted.script = speaking(2, last)
    other.script = speaking()

    said, usage = await streamed(openai)

    assert (await events.get()).resumed == 1

    assert said == "".join(WORDS)
    assert usage.completion_tokens == len(WORDS)
    (asked,) = other.asked
    assert (asked.continues.tokens, asked.continues.frames) == ((0, 1), 1)
    assert asked.continues.cached_tokens == 4
    assert asked.epoch > scripted.asked[0].epoch


async def test_who_waits_for_the_whole_answer_gets_it_all_the_same(http, scripted, other, events):
    await both_heard(http, scripted, other)
    scripted.script = speaking(3, dies)
    other.script = speaking()

    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.json()["choices"][0]["message"]["content"] == "".join(WORDS)
    assert other.asked[0].continues.tokens == (0, 1, 2)
    assert answer.headers["x-odyssai-engine"] == other.id
    assert (await events.get()).resumed == 1


async def test_frames_of_one_token_are_counted_whatever_they_tell(http, scripted, other):
    await both_heard(http, scripted, other)

    async def script(engine, asked):
        epoch = asked.epoch
        engine.send(
            asked,
            Progress(epoch, 0, 10, 10, 0),
            Delta(epoch, 1, "hm", (7,), channel="reasoning"),
            Delta(epoch, 2, "", (8,), channel="reasoning"),
            CallDelta(epoch, 3, 0, "call_1", "look", '{"a"', ()),
            CallDelta(epoch, 4, 0, "", "", ": 1}", ()),
        )
        await dies(engine, asked, 5)

    async def rest(engine, asked):
        usage, epoch = Usage(10, 3, 0), asked.epoch
        engine.send(asked, End(epoch, 0, "tool_calls", usage, Timings(0, 0, 0)))

    scripted.script, other.script = script, rest
    answer = await http.post("/v1/chat/completions", json=CHAT)

    (asked,) = other.asked
    assert (asked.continues.tokens, asked.continues.frames) == ((7, 8), 3)
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "look",
        {"a": 1},
    )


async def test_late_frames_of_a_lost_engine_are_nobodys_and_it_is_told_to_stop(
    openai, http, scripted, other
):
    await both_heard(http, scripted, other)
    go = asyncio.Event()

    async def wake_late(engine, asked, seq):
        await farewell(engine.bus, Gone(kind="engine", id=engine.id))
        await go.wait()
        late = (Delta(asked.epoch, seq + i, "late", (9,)) for i in range(3))
        engine.send(asked, *late)

    async def wait_for_it(engine, asked, seq):
        go.set()
        request = await asyncio.wait_for(scripted.cancelled.get(), 5)
        assert request == asked.request
        engine.send(asked, Delta(asked.epoch, seq, WORDS[-1], (4,)))
        usage = Usage(10, len(WORDS), 4)
        engine.send(asked, End(asked.epoch, seq + 1, "stop", usage, Timings(0, 0, 0)))

    scripted.script = speaking(2, wake_late)
    other.script = speaking(4, wait_for_it)

    said, _ = await streamed(openai)

    assert said == "".join(WORDS)


async def test_the_next_life_of_the_only_engine_goes_on(openai, nats_url, http, scripted):
    scripted.script = speaking(2, dies)
    stream = await openai.chat.completions.create(**STREAM)
    said = []
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")
        if said[-1] == WORDS[1]:
            break
    async with engine(nats_url, "e3", speaking()) as reborn:
        await reborn.say()
        said += [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(said) == "".join(WORDS)
    assert len(reborn.asked) == 1


async def test_whoever_waits_for_the_next_life_gets_signs_of_life(
    http, nats_url, scripted, monkeypatch
):
    monkeypatch.setattr(dispatch, "SILENT_S", 0.01)
    scripted.script = speaking(2, dies)
    async with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        lines = answer.aiter_lines()
        while "two" not in (line := await anext(lines)) and line != ": waiting":
            pass
        assert line == ": waiting"
        async with engine(nats_url, "e3", speaking()) as reborn:
            await reborn.say()
            rest = [line async for line in lines]

    assert rest[-2:] == ["data: [DONE]", ""]


async def test_an_engine_that_is_full_is_asked_again_by_who_is_under_way(
    openai, http, scripted, other
):
    await both_heard(http, scripted, other)
    scripted.script = speaking(1, dies)
    other.script = speaking()
    other.refusal = MeshError(Code.QUEUE_FULL, "full", retry_after_s=1)

    async def free():
        while len(other.asked) < 2:
            await asyncio.sleep(0.01)
        other.refusal = None

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(free())
        said, _ = await streamed(openai)

    assert said == "".join(WORDS)


async def test_an_engine_that_failed_but_lives_is_left_once(openai, http, scripted, other):
    await both_heard(http, scripted, other)
    scripted.script = speaking(2, failing("internal_error"))
    other.script = speaking()

    assert (await streamed(openai))[0] == "".join(WORDS)

    other.script = speaking(3, failing("internal_error", "It broke again."))
    with pytest.raises(openai_sdk.APIError, match="again"):
        await streamed(openai)


async def test_a_request_that_engines_die_of_is_given_up(openai, http, scripted, monkeypatch):
    scripted.script = speaking(1, failing("engine_lost", "It is gone."))

    with pytest.raises(openai_sdk.APIError, match="gone"):
        await streamed(openai)

    assert len(scripted.asked) == setbacks.ATTEMPTS


def test_the_time_of_all_engines_counts():
    answer = Delivered()
    end = End(1, 9, "stop", Usage(10, 5, 4), Timings(0.0, 0.1, 0.2))
    answer.add([Delta(0, 1, "One", (0,))])
    assert answer.completed(end) is end

    answer.interrupt()

    assert answer.completed(end).timings.decode_s > 0.2


def test_an_answer_that_gets_on_may_lose_its_engine_ever_again():
    lost = setbacks.Setbacks()

    got_on = [lost.allow(Code.ENGINE_LOST, 8 * n, has_others=False) for n in range(1, 20)]
    stuck = [lost.allow(Code.ENGINE_LOST, 155 + n, has_others=False) for n in range(3)]

    assert all(got_on)
    assert stuck == [True, False, False]


async def test_what_an_upstream_began_begins_anew_unless_it_was_seen(
    openai, http, scripted, other, monkeypatch
):
    await both_heard(http, scripted, other)

    async def untold(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 0, 0, 0), Delta(asked.epoch, 1, "Half", ()))
        await dies(engine, asked, 2)

    scripted.script = untold
    other.script = speaking()
    answer = await http.post("/v1/chat/completions", json=CHAT)

    assert answer.json()["choices"][0]["message"]["content"] == "".join(WORDS)
    assert other.asked[0].continues is None


async def test_what_an_upstream_began_and_was_seen_ends_with_an_error(
    openai, scripted, other, http
):
    await both_heard(http, scripted, other)
    is_seen = asyncio.Event()

    async def untold(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 0, 0, 0), Delta(asked.epoch, 1, "Half", ()))
        await is_seen.wait()
        await engine.die()

    scripted.script = untold
    stream = await openai.chat.completions.create(**STREAM)
    while not (await anext(stream)).choices[0].delta.content:
        pass
    is_seen.set()

    with pytest.raises(openai_sdk.APIError, match="lost"):
        await anext(stream)
    assert other.asked == []


async def test_a_client_that_leaves_between_two_engines_leaves_nothing_behind(
    http, scripted, events
):
    scripted.script = speaking(2, dies)
    async with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        async for line in answer.aiter_lines():
            if '"content":","' in line:
                break

    assert (await asyncio.wait_for(events.get(), 5)).status == "cancelled"


async def test_an_engine_that_nobody_can_ask_is_lost_before_its_heartbeats_are_missed(
    openai, http, scripted, other, monkeypatch
):
    monkeypatch.setattr(watch, "SILENCE_S", 60.0)
    for module in (streams, dispatch):
        monkeypatch.setattr(module, "SILENCE_S", 0.1)
    await both_heard(http, scripted, other)
    other.script = speaking()

    async def vanish(engine, asked, seq):
        """Its connections are cut, as those of a process that is killed."""
        await engine.bus._client.close()

    scripted.script = speaking(2, vanish)

    assert (await streamed(openai))[0] == "".join(WORDS)
