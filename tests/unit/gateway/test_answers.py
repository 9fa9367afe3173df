"""What SDKs get from a gateway when all goes well."""

import asyncio

import anthropic as anthropic_sdk
import openai as openai_sdk

from proto.placement import Candidate, Schedule, Scheduled
from proto.prefix import prefixes_of
from proto.prompt import Chat, Tokens, Turn
from proto.subjects import ENGINE_BEAT, SCHEDULE
from tests.unit.gateway.scripted import ALIAS, MODEL

HI = [{"role": "user", "content": "Hi"}]


async def test_a_chat_completion_is_answered_under_the_name_that_was_asked_for(openai, scripted):
    raw = await openai.chat.completions.with_raw_response.create(model=ALIAS, messages=HI)
    answer = raw.parse()

    assert answer.choices[0].message.content == "Hello world"
    assert answer.model == ALIAS
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer.system_fingerprint.startswith("fp_")
    assert raw.headers["x-odyssai-engine"] == scripted.id
    assert answer.id == f"chatcmpl-{raw.headers['x-request-id']}"


async def test_a_chat_is_streamed(openai):
    stream = await openai.chat.completions.create(
        model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello world"
    assert chunks[-1].usage.total_tokens == 12
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_the_engine_is_asked_what_the_client_asked(openai, scripted):
    await openai.chat.completions.create(
        model=MODEL,
        messages=HI,
        temperature=0.5,
        max_tokens=7,
        stop="x",
        seed=3,
        logprobs=True,
        extra_headers={"X-Session-Id": "header"},
        extra_body={"session_id": "body", "top_k": 5},
    )
    (asked,) = scripted.asked

    assert (asked.max_tokens, asked.stop, asked.logprobs) == (7, ("x",), 0)
    assert (asked.sampling.temperature, asked.sampling.seed, asked.sampling.top_k) == (0.5, 3, 5)
    assert asked.session == "header"


async def test_the_scheduler_decides_and_never_sees_the_prompt(openai, scripted, bus):
    heard = []

    async def schedule(question: Schedule) -> Scheduled:
        heard.append(question)
        return Scheduled(candidates=(Candidate(engine=scripted.id, boot=scripted.boot),))

    await bus.answer(SCHEDULE, schedule)
    # One engine alone is no choice, and nobody would be asked.
    await bus.publish(ENGINE_BEAT, scripted.beat(engine="n1.twin", boot="twin"), "n1.twin")
    await bus.settled()
    messages = [{"role": "system", "content": "Secret"}, *HI]
    await openai.chat.completions.create(model=MODEL, messages=messages, prompt_cache_key="k")
    (question,) = heard

    assert (question.model, question.session, question.prompt_bytes) == (MODEL, "k", 8)
    assert question.prefix == prefixes_of(scripted.asked[0].prompt)
    assert b"Secret" not in SCHEDULE.encode(question)


async def test_without_a_scheduler_the_gateway_asks_whoever_has_read_the_prompt(
    openai, scripted, other
):
    long = "word " * 2000
    known = prefixes_of(Chat(turns=(Turn(role="user", content=long),)))
    cached = {prefix.digest: prefix.chars // 4 for prefix in known}
    engines: list[str] = []
    while other.id not in engines:
        await scripted.say()
        await other.say(running=2, prefixes=cached)
        model = await openai.models.retrieve(MODEL)
        engines = model.x_odyssai["engines"]

    messages = [{"role": "user", "content": long}]
    await openai.chat.completions.create(model=MODEL, messages=messages)

    assert (len(scripted.asked), len(other.asked)) == (0, 1)


async def test_several_choices_are_as_many_generations(openai, scripted):
    answer = await openai.chat.completions.create(model=MODEL, messages=HI, n=3, seed=1)

    assert [choice.message.content for choice in answer.choices] == ["Hello world"] * 3
    assert {asked.sampling.seed for asked in scripted.asked} == {1, 2, 3}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 6)


async def test_several_choices_stream_side_by_side(openai):
    stream = await openai.chat.completions.create(model=MODEL, messages=HI, n=3, stream=True)
    texts = ["", "", ""]
    async for chunk in stream:
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""

    assert texts == ["Hello world"] * 3


async def test_every_prompt_of_a_completion_is_answered(openai, scripted):
    answer = await openai.completions.create(model=MODEL, prompt=[[1, 2], [3]], n=2)

    assert [choice.text for choice in answer.choices] == ["Hello world"] * 4
    prompts = sorted(asked.prompt.ids for asked in scripted.asked)
    assert prompts == [(1, 2), (1, 2), (3,), (3,)]
    assert isinstance(scripted.asked[0].prompt, Tokens)


async def test_a_completion_is_streamed(openai):
    stream = await openai.completions.create(model=MODEL, prompt="x", stream=True)

    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello world"


async def test_a_message_is_answered(anthropic, scripted):
    answer = await anthropic.messages.create(
        model=MODEL, max_tokens=9, messages=HI, system="Be brief."
    )

    assert answer.content[0].text == "Hello world"
    assert (answer.stop_reason, answer.usage.input_tokens) == ("end_turn", 6)
    assert answer.usage.cache_read_input_tokens == 4
    assert isinstance(scripted.asked[0].prompt, Chat)
    assert [turn.role for turn in scripted.asked[0].prompt.turns] == ["system", "user"]


async def test_a_message_is_streamed(anthropic):
    async with anthropic.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()

    assert text == "Hello world"
    assert (final.usage.output_tokens, final.usage.cache_read_input_tokens) == (2, 4)


async def test_tokens_are_counted_by_an_engine(anthropic):
    counted = await anthropic.messages.count_tokens(model=MODEL, messages=HI)

    assert counted.input_tokens == 7


async def test_the_sync_sdks_are_served_as_well(url):
    def ask() -> tuple[str, str, str]:
        with openai_sdk.OpenAI(base_url=f"{url}/v1", api_key="x") as openai:
            whole = openai.chat.completions.create(model=MODEL, messages=HI)
            parts = openai.chat.completions.create(model=MODEL, messages=HI, stream=True)
            streamed = "".join(part.choices[0].delta.content or "" for part in parts)
        with anthropic_sdk.Anthropic(base_url=url, api_key="x") as anthropic:
            message = anthropic.messages.create(model=MODEL, max_tokens=9, messages=HI)
        return whole.choices[0].message.content, streamed, message.content[0].text

    assert await asyncio.to_thread(ask) == ("Hello world",) * 3
