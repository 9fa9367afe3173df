"""Anthropic's own SDK in front of a gateway: its helpers must accept every answer and event."""

import json

import anthropic as anthropic_sdk
import pytest
from anthropic import beta_async_tool
from pydantic import BaseModel

from proto.errors import Code, MeshError
from proto.format import JsonSchema
from proto.frames import CallDelta, Delta, End, Progress, Timings, Usage
from proto.prompt import Chat, Thinking, ToolChoice
from tests.unit.gateway.scripted import MODEL, hello

HI = [{"role": "user", "content": "How warm is the sea?"}]
ASKED = {"model": MODEL, "max_tokens": 2000, "messages": HI}
TOOL = {
    "name": "measure",
    "description": "Measure something.",
    "input_schema": {"type": "object", "properties": {"what": {"type": "string"}}},
}
ARGUMENTS = '{"what": "sea"}'


def answer(*frames, reason="stop", thought=0):
    """A script that sends these, numbered, between a Progress and an End."""

    async def script(engine, asked):
        epoch = asked.epoch
        engine.send(asked, Progress(epoch, 0, 10, 10, 4))
        for seq, (kind, *rest) in enumerate(frames, 1):
            engine.send(asked, kind(epoch, seq, *rest))
        spent = Usage(10, len(frames), 4, thought)
        engine.send(asked, End(epoch, len(frames) + 1, reason, spent, Timings(0.0, 0.1, 0.2), None))

    return script


def said(*pieces):
    return [(Delta, piece, (1,)) for piece in pieces]


def thought(*pieces):
    return [(Delta, piece, (1,), (), "reasoning") for piece in pieces]


def called(*pieces, call=0, id="call-1", name="measure"):
    first = (CallDelta, call, id, name, "", (1,))
    return [first, *((CallDelta, call, "", "", piece, (1,)) for piece in pieces)]


ALL = [*thought("Warm", "?"), *said("Let me ", "see."), *called('{"what"', ': "sea"}')]


async def test_a_whole_answer_has_thinking_text_and_calls(anthropic, scripted):
    scripted.script = answer(*ALL, reason="tool_calls", thought=2)

    message = await anthropic.messages.create(**ASKED, tools=[TOOL])
    thinking, text, use = message.content

    assert (thinking.thinking, text.text) == ("Warm?", "Let me see.")
    assert (use.name, use.input) == ("measure", {"what": "sea"})
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens_details.thinking_tokens == 2
    assert message._request_id


async def test_a_stream_says_what_a_whole_answer_says(anthropic, scripted):
    scripted.script = answer(*ALL, reason="tool_calls", thought=2)
    whole = await anthropic.messages.create(**ASKED)

    async with anthropic.messages.stream(**ASKED) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()

    assert [b.to_dict() for b in final.content] == [b.to_dict() for b in whole.content]
    assert (final.usage, final.stop_reason) == (whole.usage, "tool_use")
    assert {"thinking", "signature", "text", "input_json"} <= set(kinds)


async def test_the_beta_client_reads_the_same(anthropic, scripted):
    scripted.script = answer(*ALL, reason="tool_calls")
    betas = ["context-management-2025-06-27", "unheard-of-2099-01-01"]
    cleared = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}

    raw = await anthropic.beta.messages.with_raw_response.create(
        **ASKED, betas=betas, context_management=cleared
    )
    async with anthropic.beta.messages.stream(**ASKED, betas=betas) as stream:
        final = await stream.get_final_message()

    assert raw.headers["x-odyssai-ignored"] == "context_management"
    whole = await raw.parse()
    assert [b.type for b in whole.content] == ["thinking", "text", "tool_use"]
    assert [b.to_dict() for b in final.content] == [b.to_dict() for b in whole.content]


async def test_a_tool_runner_calls_and_gets_its_answer(anthropic, scripted):
    measured = []

    @beta_async_tool
    async def measure(what: str) -> str:
        """Measure something.

        Args:
            what: What to measure.
        """
        measured.append(what)
        return "18 degrees"

    async def script(engine, asked):
        is_first = len(engine.asked) == 1
        frames = called(ARGUMENTS, id="functions.measure:0") if is_first else said("Warm.")
        reason = "tool_calls" if is_first else "stop"
        await answer(*frames, reason=reason)(engine, asked)

    scripted.script = script
    runner = anthropic.beta.messages.tool_runner(**ASKED, tools=[measure])
    final = await runner.until_done()

    # The SDK first asks for a thread, which nobody keeps here, and goes on without.
    assert final.content[0].text == "Warm."
    assert measured == ["sea"]
    _, said_before, returned = scripted.asked[1].prompt.turns
    assert said_before.calls[0].id == returned.call_id == "functions.measure:0"
    assert (returned.role, returned.name) == ("tool", "measure")
    assert "18 degrees" in returned.text


async def test_a_parsed_answer_is_asked_for_by_its_schema(anthropic, scripted):
    class Warmth(BaseModel):
        degrees: int

    scripted.script = answer(*said('{"degrees"', ": 18}"))

    message = await anthropic.messages.parse(**ASKED, output_format=Warmth)
    async with anthropic.messages.stream(**ASKED, output_format=Warmth) as stream:
        streamed = await stream.get_final_message()

    assert message.parsed_output == streamed.parsed_output == Warmth(degrees=18)
    wanted = scripted.asked[0].format
    assert isinstance(wanted, JsonSchema)
    assert wanted.schema["properties"]["degrees"]["type"] == "integer"


async def test_all_that_was_asked_reaches_the_engine(anthropic, scripted):
    await anthropic.messages.create(
        **ASKED,
        tools=[TOOL, {"type": "bash_20250124", "name": "bash"}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={"effort": "high"},
    )
    prompt = scripted.asked[0].prompt

    assert isinstance(prompt, Chat)
    assert [tool.name for tool in prompt.tools] == ["measure", "bash"]
    assert prompt.tool_choice == ToolChoice(mode="required", parallel=False)
    assert prompt.thinking == Thinking(enabled=True, effort="high", budget_tokens=1024)


async def test_an_answer_can_be_sent_back_as_it_came(anthropic, scripted):
    scripted.script = answer(*ALL, reason="tool_calls")
    message = await anthropic.messages.create(**ASKED, tools=[TOOL])
    result = {"type": "tool_result", "tool_use_id": message.content[2].id, "content": "18"}

    scripted.script = hello
    history = [*HI, message.to_param(), {"role": "user", "content": [result]}]
    await anthropic.messages.create(**ASKED | {"messages": history}, tools=[TOOL])
    _, before, returned = scripted.asked[1].prompt.turns

    assert (before.reasoning, before.content) == ("Warm?", "Let me see.")
    assert json.loads(before.calls[0].arguments) == {"what": "sea"}
    assert before.calls[0].id == returned.call_id == "call-1"


async def test_thinking_that_is_not_shown_comes_back_with_the_conversation(anthropic, scripted):
    scripted.script = answer(*ALL, reason="stop")
    hidden = {"type": "adaptive", "display": "omitted"}

    async with anthropic.messages.stream(**ASKED, thinking=hidden) as stream:
        message = await stream.get_final_message()
    block = message.content[0]
    said_again = {"role": "assistant", "content": [b.model_dump() for b in message.content[:2]]}
    history = [*HI, said_again, {"role": "user", "content": "And?"}]
    await anthropic.messages.create(**ASKED | {"messages": history})

    assert (block.type, block.thinking) == ("thinking", "")
    assert scripted.asked[1].prompt.turns[1].reasoning == "Warm?"


async def test_a_call_that_was_cut_off_is_reported(anthropic, scripted):
    scripted.script = answer(*called('{"what": "se'), reason="length")

    message = await anthropic.messages.create(**ASKED)
    async with anthropic.messages.stream(**ASKED) as stream:
        streamed = await stream.get_final_message()

    assert message.content[0].input == {"INVALID_JSON": '{"what": "se'}
    assert message.stop_reason == streamed.stop_reason == "max_tokens"
    assert streamed.content[0].input == {"what": "se"} or streamed.content[0].input == {}


async def test_an_empty_answer_is_accepted(anthropic, scripted):
    scripted.script = answer()

    assert (await anthropic.messages.create(**ASKED)).content == []
    async with anthropic.messages.stream(**ASKED) as stream:
        assert (await stream.get_final_message()).content == []


async def test_tokens_are_counted_with_all_that_the_prompt_has(anthropic):
    counted = await anthropic.messages.count_tokens(
        model=MODEL,
        messages=HI,
        system="Be brief.",
        tools=[TOOL],
        tool_choice={"type": "auto"},
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    in_beta = await anthropic.beta.messages.count_tokens(model=MODEL, messages=HI, betas=["x"])

    assert counted.input_tokens == in_beta.input_tokens == 7


async def test_a_refusal_is_the_sdks_own_error(anthropic, scripted):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}

    with pytest.raises(anthropic_sdk.BadRequestError, match="web_search_20250305"):
        await anthropic.messages.create(**ASKED, tools=[search])
    assert scripted.asked == []


async def test_an_overflow_is_said_in_the_words_that_agents_know(anthropic, scripted):
    scripted.refusal = MeshError(Code.CONTEXT_OVERFLOW, "3000 tokens, 2048 fit.")

    with pytest.raises(anthropic_sdk.BadRequestError, match="prompt is too long: 3000 tokens"):
        await anthropic.messages.create(**ASKED)


async def test_the_versions_header_is_needed_by_nobody(http):
    answered = await http.post("/v1/messages?beta=true", json=ASKED)

    assert answered.status_code == 200
    assert answered.json()["content"][0]["text"] == "Hello world"


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("/v1/messages/batches", "/v1/messages"),
        ("/v1/messages/batches/b1/results", "/v1/messages"),
        ("/v1/files", "messages"),
    ],
)
async def test_what_the_vendor_has_besides_is_a_404_that_says_what_to_do(http, path, instead):
    answered = await http.get(path, headers={"anthropic-version": "2023-06-01"})

    assert answered.status_code == 404
    assert answered.json()["error"]["type"] == "not_found_error"
    assert path in answered.json()["error"]["message"]
    assert instead in answered.json()["error"]["message"].removeprefix(path)


async def test_the_sdks_own_batches_and_files_meet_their_own_error(anthropic):
    with pytest.raises(anthropic_sdk.NotFoundError):
        await anthropic.messages.batches.list()
    with pytest.raises(anthropic_sdk.NotFoundError):
        await anthropic.beta.files.list()
