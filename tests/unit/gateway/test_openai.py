"""OpenAI's own package in front of an engine that answers by a script: tools, formats, thinking."""

import json
from enum import StrEnum

import openai
import pytest
from pydantic import BaseModel

from proto.format import Grammar, JsonSchema, Regex
from proto.frames import CallDelta, Delta, End, Progress, Timings, Usage
from proto.prompt import Thinking, Tool, ToolCall, ToolChoice, Turn
from tests.unit.gateway.scripted import MODEL


class Unit(StrEnum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class GetWeather(BaseModel):
    """The weather now."""

    city: str
    unit: Unit


class Sum(BaseModel):
    steps: list[str]
    result: int


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
FUNCTION = {"name": "weather", "parameters": SCHEMA}
ARGUMENTS = '{"city":"Oslo","unit":"celsius"}'


def ask(**fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} | fields


def saying(*frames, reason="stop"):
    """A script: the frames as functions of epoch and place, then the end."""

    async def script(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 4))
        for at, frame in enumerate(frames, 1):
            engine.send(asked, frame(asked.epoch, at))
        usage = Usage(10, 8, 4, 3)
        engine.send(
            asked,
            End(asked.epoch, len(frames) + 1, reason, usage, Timings(0, 0, 0), None),
        )

    return script


def word(text, channel="content"):
    return lambda epoch, seq: Delta(epoch, seq, text, (seq,), (), channel)


def call(name, *pieces, call=0):
    """Frames of one call: its name, then its arguments."""

    def frame(piece, id="", name=""):
        return lambda epoch, seq: CallDelta(epoch, seq, call, id, name, piece, (seq,))

    return [frame("", f"call_{call}", name), *map(frame, pieces)]


CALLING = saying(
    word("Let me see."),
    *call("weather", '{"city":', '"Oslo","un', 'it":"celsius"}'),
    *call("clock", "{}", call=1),
    reason="tool_calls",
)
THINKING = saying(word("2+2", "reasoning"), word(" is 4", "reasoning"), word("4"))


async def test_calls_come_whole(openai, scripted):
    scripted.script = CALLING

    answer = await openai.chat.completions.create(**ask(tools=[WEATHER, CLOCK]))

    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls] == [
        ("call_0", "weather", ARGUMENTS),
        ("call_1", "clock", "{}"),
    ]
    assert scripted.asked[0].prompt.tools == (
        Tool(name="weather", parameters=SCHEMA),
        Tool(name="clock"),
    )


async def test_calls_stream_as_they_are_generated(openai, scripted):
    scripted.script = CALLING

    stream = await openai.chat.completions.create(**ask(tools=[WEATHER, CLOCK], stream=True))
    deltas = [chunk.choices[0].delta async for chunk in stream]

    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 0, 0, 0, 1, 1]
    assert [call.function.arguments for call in calls[:4]] == [
        "", '{"city":', '"Oslo","un', 'it":"celsius"}',
    ]  # fmt: skip
    assert "".join(delta.content or "" for delta in deltas) == "Let me see."


async def test_the_sdks_own_stream_reads_every_event_of_a_call(openai, scripted):
    scripted.script = CALLING
    tool = openai_tool(GetWeather, "weather")

    async with openai.chat.completions.stream(
        **ask(tools=[tool], stream_options={"include_usage": True})
    ) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()

    kinds = {event.type for event in events}
    assert {
        "chunk", "content.delta", "content.done",
        "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done",
    } == kinds  # fmt: skip
    pieces = [e.arguments_delta for e in events if e.type == "tool_calls.function.arguments.delta"]
    assert "".join(pieces) == ARGUMENTS + "{}"
    parsed = final.choices[0].message.tool_calls[0].function.parsed_arguments
    assert parsed == GetWeather(city="Oslo", unit=Unit.CELSIUS)
    assert final.usage.completion_tokens_details.reasoning_tokens == 3


def openai_tool(model, name):
    return openai.pydantic_function_tool(model, name=name)


async def test_parse_reads_a_strict_tool_into_its_own_type(openai, scripted):
    scripted.script = saying(*call("weather", ARGUMENTS), reason="tool_calls")

    answer = await openai.chat.completions.parse(**ask(tools=[openai_tool(GetWeather, "weather")]))

    call_made = answer.choices[0].message.tool_calls[0]
    assert call_made.function.parsed_arguments == GetWeather(city="Oslo", unit=Unit.CELSIUS)
    offered = scripted.asked[0].prompt.tools[0]
    assert (offered.strict, offered.description) == (True, "The weather now.")
    assert offered.parameters["required"] == ["city", "unit"]


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_parse_reads_a_format_into_its_own_type(openai, scripted, is_streamed):
    scripted.script = saying(word('{"steps":["2+2"],'), word('"result":4}'))
    asked = ask(response_format=Sum)

    if is_streamed:
        async with openai.chat.completions.stream(**asked) as stream:
            answer = await stream.get_final_completion()
    else:
        answer = await openai.chat.completions.parse(**asked)

    assert answer.choices[0].message.parsed == Sum(steps=["2+2"], result=4)
    wanted = scripted.asked[0].format
    assert isinstance(wanted, JsonSchema)
    assert (wanted.name, wanted.schema["required"]) == ("Sum", ["steps", "result"])


async def test_an_answer_cut_off_in_a_call_is_told_from_a_whole_one(openai, scripted):
    scripted.script = saying(*call("weather", '{"ci'), reason="length")

    whole = await openai.chat.completions.create(**ask(tools=[WEATHER]))

    assert whole.choices[0].finish_reason == "length"
    assert whole.choices[0].message.tool_calls[0].function.arguments == '{"ci'
    with pytest.raises(Exception, match="length limit"):
        await openai.chat.completions.parse(**ask(tools=[openai_tool(GetWeather, "weather")]))


async def test_a_whole_turn_of_calls_and_answers_goes_round(openai, scripted):
    scripted.script = saying(*call("weather", "{}"), reason="tool_calls")
    asked = ask(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    first = await openai.chat.completions.create(**asked)
    message = first.choices[0].message
    answer = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}

    await openai.chat.completions.create(
        **ask(messages=[*asked["messages"], message, answer], tools=[WEATHER])
    )

    before, after = (each.prompt for each in scripted.asked)
    assert before.tool_choice == ToolChoice(mode="required", parallel=False)
    assert after.turns[1:] == (
        Turn(role="assistant", calls=(ToolCall(id="call_0", name="weather", arguments="{}"),)),
        Turn(role="tool", content="rain", call_id="call_0", name="weather"),
    )


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_functions_are_called_in_the_older_form(openai, scripted, is_streamed):
    scripted.script = saying(*call("weather", '{"city":', '"Oslo"}'), reason="tool_calls")
    asked = ask(functions=[FUNCTION], function_call="auto")

    if is_streamed:
        stream = await openai.chat.completions.create(**asked, stream=True)
        choices = [chunk.choices[0] async for chunk in stream]
        calls = [c.delta.function_call for c in choices if c.delta.function_call]
        said = (calls[0].name, "".join(call.arguments for call in calls))
        reason = choices[-1].finish_reason
    else:
        choice = (await openai.chat.completions.create(**asked)).choices[0]
        said = (choice.message.function_call.name, choice.message.function_call.arguments)
        reason = choice.finish_reason

    assert said == ("weather", '{"city":"Oslo"}')
    assert reason == "function_call"
    assert scripted.asked[0].prompt.tools == (Tool(name="weather", parameters=SCHEMA),)


async def test_thinking_is_told_apart_whole_and_streamed(openai, scripted):
    scripted.script = THINKING

    whole = await openai.chat.completions.create(**ask(reasoning_effort="low"))
    stream = await openai.chat.completions.create(
        **ask(stream=True, stream_options={"include_usage": True})
    )
    chunks = [chunk async for chunk in stream]

    message = whole.choices[0].message
    assert (message.content, message.reasoning_content, message.reasoning) == (
        "4", "2+2 is 4", "2+2 is 4",
    )  # fmt: skip
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) for delta in deltas]
    assert [thought for thought in thoughts if thought] == ["2+2", " is 4"]
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 3
    assert scripted.asked[0].prompt.thinking == Thinking(effort="low")


@pytest.mark.parametrize("extra", [{"reasoning": {"exclude": True}}, {"include_reasoning": False}])
async def test_thinking_may_stay_hidden(openai, scripted, extra):
    scripted.script = THINKING

    whole = await openai.chat.completions.create(**ask(extra_body=extra))
    stream = await openai.chat.completions.create(**ask(stream=True, extra_body=extra))
    streamed = [chunk.model_dump_json() async for chunk in stream]

    assert whole.choices[0].message.content == "4"
    assert "reasoning" not in (whole.choices[0].message.model_extra or {})
    assert not any("reasoning" in chunk for chunk in streamed)


async def test_what_has_no_effect_is_named_in_a_header(http):
    body = ask(store=True, verbosity="low", user="u", metadata={"a": "b"})
    answer = await http.post("/v1/chat/completions", json=body)

    assert answer.headers["x-odyssai-ignored"] == "store, verbosity"
    plain = await http.post("/v1/chat/completions", json=ask())
    assert "x-odyssai-ignored" not in plain.headers


async def test_a_prompt_is_echoed_whole_and_streamed(openai):
    asked = {"model": MODEL, "prompt": "Say: ", "echo": True}

    whole = await openai.completions.create(**asked)
    stream = await openai.completions.create(**asked, stream=True)
    texts = [chunk.choices[0].text async for chunk in stream]

    assert whole.choices[0].text == "Say: Hello world"
    assert texts == ["Say: ", "Hello", " world", ""]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"type": "regex", "pattern": "[ab]+"}, Regex(pattern="[ab]+")),
        ({"type": "grammar", "grammar": 'start: "a"'}, Grammar(source='start: "a"')),
    ],
)
async def test_formats_of_ours_reach_the_engine_from_both_endpoints(openai, scripted, said, wanted):
    await openai.chat.completions.create(**ask(extra_body={"response_format": said}))
    await openai.completions.create(model=MODEL, prompt="x", extra_body={"response_format": said})

    assert [each.format for each in scripted.asked] == [wanted, wanted]


async def test_an_error_says_where_the_tools_are_wrong(openai):
    broken = {"type": "function", "function": {"name": "two words"}}

    with pytest.raises(Exception, match="name") as caught:
        await openai.chat.completions.create(**ask(tools=[WEATHER, broken]))

    assert caught.value.param == "tools[1].function.name"
    assert json.loads(caught.value.response.content)["error"]["type"] == "invalid_request_error"
