"""What the SDK gets from /v1/responses: whole, streamed, parsed; exact to the frame."""

import asyncio
import json
from typing import Any

import openai as openai_sdk
import pydantic
import pytest

from proto.format import JsonSchema
from proto.frames import (
    Failed,
)
from proto.generation import Generate
from proto.prompt import Thinking, ToolChoice
from services.gateway.asking import setbacks
from tests.unit.gateway.responses.frames import called, ended, kinds, said, telling, thought
from tests.unit.gateway.scripted import ALIAS, MODEL, ScriptedEngine
from tests.unit.gateway.test_faults import both_heard

FUNCTION = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
NAMESPACE = {"type": "namespace", "name": "mcp__wiki", "description": "", "tools": [FUNCTION]}


async def test_a_response_is_answered_under_the_name_that_was_asked_for(ask: Any) -> None:
    response = await ask(model=ALIAS, instructions="Be brief.", metadata={"a": "b"}, user="me")

    assert response.output_text == "Hello world"
    assert (response.status, response.model, response.object) == ("completed", ALIAS, "response")
    assert (response.instructions, response.metadata, response.user) == (
        "Be brief.",
        {"a": "b"},
        "me",
    )
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert (response.usage.total_tokens, response.error, response.incomplete_details) == (
        12,
        None,
        None,
    )
    (message,) = response.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")


async def test_without_a_model_the_first_that_chats_answers(
    strict: openai_sdk.AsyncOpenAI, scripted: ScriptedEngine
) -> None:
    response = await strict.responses.create()

    assert response.model == MODEL
    assert [turn.role for turn in scripted.asked[0].prompt.turns] == ["user"]


async def test_a_stream_tells_every_step_and_ends_without_done(
    stream: Any, http: Any, scripted: ScriptedEngine
) -> None:
    events = await stream()

    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[0].response.status == "in_progress"
    assert events[-1].response.output_text == "Hello world"
    raw = await http.post("/v1/responses", json={"input": "Hi", "stream": True})
    assert raw.headers["x-odyssai-engine"] == scripted.id
    assert "[DONE]" not in raw.text
    assert raw.text.endswith("\n\n")


async def test_the_helper_of_the_sdk_adds_a_stream_up(strict: openai_sdk.AsyncOpenAI) -> None:
    async with strict.responses.stream(model=MODEL, input="Hi") as stream:
        snapshots = [e.snapshot async for e in stream if e.type == "response.output_text.delta"]
        final = await stream.get_final_response()

    assert snapshots == ["Hello", "Hello world"]
    assert final.output_text == "Hello world"


async def test_reasoning_is_an_item_before_the_message(
    ask: Any, stream: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(thought("Well"), thought(", yes"), said("Yes."), ended())
    reasoning, message = (await ask()).output
    events = await stream()

    assert [part.text for part in reasoning.content] == ["Well, yes"]
    assert (reasoning.summary, reasoning.encrypted_content) == ([], None)
    assert message.content[0].text == "Yes."
    told = kinds(events)
    assert told[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    assert events[-1].response.output[0].content[0].text == "Well, yes"
    assert events[-1].response.usage.output_tokens_details.reasoning_tokens == 3


async def test_reasoning_is_told_as_a_summary_to_those_who_asked_for_one(
    ask: Any, stream: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(thought("Well"), said("Yes."), ended())
    reasoning, _ = (await ask(reasoning={"summary": "auto"})).output
    events = await stream(reasoning={"summary": "auto", "effort": "low"})

    assert [part.text for part in reasoning.summary] == ["Well"]
    assert reasoning.content is None
    assert kinds(events)[2:7] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    assert scripted.asked[-1].prompt.thinking == Thinking(effort="low")


async def test_sealed_reasoning_is_understood_when_it_comes_back(
    ask: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(thought("Well"), said("Yes."), ended())
    answer = await ask(include=["reasoning.encrypted_content"], store=False)
    sealed = answer.output[0].encrypted_content
    assert "Well" not in sealed
    # As Codex sends it: without an id, and without what it holds in the clear.
    back = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "summary": [], "encrypted_content": sealed},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Y"}]},
        {"role": "user", "content": "Why?"},
    ]
    await ask(input=back, store=False)

    turns = scripted.asked[-1].prompt.turns
    assert [(t.role, t.content, t.reasoning) for t in turns] == [
        ("user", "Hi", ""),
        ("assistant", "Y", "Well"),
        ("user", "Why?", ""),
    ]


async def test_a_function_is_called(ask: Any, stream: Any, scripted: ScriptedEngine) -> None:
    scripted.script = telling(
        said("Let me see."),
        called(0, "", "weather", "call_1"),
        called(0, '{"city":'),
        called(0, '"Paris"}'),
        called(1, '{"city":"Rome"}', "weather", "call_2"),
        ended("tool_calls"),
    )
    message, paris, rome = (await ask(tools=[FUNCTION], parallel_tool_calls=True)).output
    events = await stream(tools=[FUNCTION], tool_choice="required")

    assert message.content[0].text == "Let me see."
    assert (paris.call_id, paris.name, json.loads(paris.arguments)) == (
        "call_1",
        "weather",
        {"city": "Paris"},
    )
    assert (rome.call_id, rome.status, rome.id != paris.id) == ("call_2", "completed", True)
    assert kinds(events)[8:14] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
    ]
    assert [event.output_index for event in events if event.type.endswith("done")][-1] == 2
    assert scripted.asked[-1].prompt.tool_choice == ToolChoice(mode="required")
    assert scripted.asked[-1].prompt.tools[0].strict


async def test_a_truncated_call_is_incomplete(ask: Any, scripted: ScriptedEngine) -> None:
    scripted.script = telling(called(0, '{"ci', "weather", "call_1"), ended("length"))
    response = await ask(tools=[FUNCTION], max_output_tokens=5)

    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert (response.output[0].status, response.output[0].arguments) == ("incomplete", '{"ci')
    assert scripted.asked[0].max_tokens == 5


async def test_the_input_of_a_free_form_tool_is_told_as_text(
    ask: Any, stream: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(
        called(0, '{"in', "apply_patch", "call_1"),
        called(0, 'put": "*** Begin\\'),
        called(0, 'n+é\\u00e9"'),
        called(0, "}"),
        ended("tool_calls"),
    )
    (call,) = (await ask(tools=[PATCH])).output
    events = await stream(tools=[PATCH])

    assert (call.type, call.name, call.call_id) == ("custom_tool_call", "apply_patch", "call_1")
    assert call.input == "*** Begin\n+éé"
    deltas = [e.delta for e in events if e.type == "response.custom_tool_call_input.delta"]
    assert deltas == ["*** Begin", "\n+éé"]
    assert kinds(events)[-3:] == ["custom_tool_call_input.done", "output_item.done", "completed"]
    (tool,) = scripted.asked[-1].prompt.tools
    assert list(tool.parameters["properties"]) == ["input"]


async def test_a_tool_of_a_namespace_is_called_by_both_names(
    ask: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(called(0, "{}", "mcp__wiki__weather", "call_1"), ended("tool_calls"))
    response = await ask(tools=[NAMESPACE], tool_choice="auto")
    (call,) = response.output

    assert (call.name, call.namespace) == ("weather", "mcp__wiki")
    assert scripted.asked[0].prompt.tools[0].name == "mcp__wiki__weather"
    back = [call.to_dict(), {"type": "function_call_output", "call_id": "call_1", "output": "warm"}]
    await ask(input=back, tools=[NAMESPACE])
    assistant, tool = scripted.asked[-1].prompt.turns[:2]
    assert assistant.calls[0].name == tool.name == "mcp__wiki__weather"


async def test_what_a_tool_gave_out_goes_to_the_model(ask: Any, scripted: ScriptedEngine) -> None:
    scripted.script = telling(called(0, "{}", "weather", "call_1"), ended("tool_calls"))
    first = await ask(tools=[FUNCTION])
    scripted.script = telling(said("Warm."), ended())
    output = [{"type": "input_text", "text": "20"}, {"type": "input_text", "text": "degrees"}]
    await ask(
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": "call_1", "output": output}],
        tools=[FUNCTION],
    )

    user, assistant, tool = scripted.asked[-1].prompt.turns
    assert (user.content, assistant.calls[0].id) == ("Hi", "call_1")
    assert (tool.role, tool.call_id, tool.name) == ("tool", "call_1", "weather")
    assert tool.content == "20\ndegrees"


async def test_a_schema_is_kept_and_parsed(
    strict: openai_sdk.AsyncOpenAI, scripted: ScriptedEngine
) -> None:
    class City(pydantic.BaseModel):
        name: str

    scripted.script = telling(said('{"name":'), said('"Rome"}'), ended())
    parsed = await strict.responses.parse(model=MODEL, input="Hi", text_format=City)

    assert parsed.output_parsed == City(name="Rome")
    wanted = scripted.asked[0].format
    assert isinstance(wanted, JsonSchema)
    assert wanted.schema["properties"]["name"]["type"] == "string"


async def test_logprobs_come_where_they_are_included(
    ask: Any, stream: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(said("Yes", -0.5), ended())
    wanted = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    part = (await ask(**wanted)).output[0].content[0]
    events = await stream(**wanted)

    assert (part.logprobs[0].token, part.logprobs[0].logprob) == ("Yes", -0.5)
    assert [top.logprob for top in part.logprobs[0].top_logprobs] == [-0.5, -9999.0]
    assert events[4].logprobs[0].top_logprobs[1].token == "x"
    assert scripted.asked[0].logprobs == 2


async def test_an_answer_of_nothing_is_an_empty_message(
    ask: Any, stream: Any, scripted: ScriptedEngine
) -> None:
    scripted.script = telling(ended())

    assert (await ask()).output[0].content[0].text == ""
    assert (await stream())[-1].response.output[0].content[0].text == ""


async def test_a_failure_in_the_middle_is_told_by_the_response(
    ask: Any,
    strict: openai_sdk.AsyncOpenAI,
    scripted: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setbacks, "ATTEMPTS", 1)
    is_heard = asyncio.Event()

    async def break_off(engine: ScriptedEngine, asked: Generate) -> None:
        await telling(said("Hel"))(engine, asked)
        await is_heard.wait()
        engine.send(asked, Failed(asked.epoch, 2, "engine_lost", "It is gone."))

    scripted.script = break_off
    async for event in await ask(stream=True):
        if event.type == "response.output_text.delta":
            is_heard.set()

    assert event.type == "response.failed"
    response = event.response
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert response.error.message == "It is gone."
    assert (response.output[0].content[0].text, response.output[0].status) == ("Hel", "incomplete")
    kept = await strict.responses.retrieve(response.id)
    assert kept.status == "failed"


async def test_another_engine_goes_on_where_the_first_one_was_lost(
    ask: Any, http: Any, scripted: ScriptedEngine, other: ScriptedEngine
) -> None:
    await both_heard(http, scripted, other)

    async def die(engine: ScriptedEngine, asked: Generate) -> None:
        await telling(thought("Half"), said("Half"))(engine, asked)
        await engine.die()

    scripted.script = die
    other.script = telling(said(" of it"), ended())
    response = await ask()

    assert response.output_text == "Half of it"
    assert [item.type for item in response.output] == ["reasoning", "message"]


async def test_sampling_and_session_are_what_was_asked(ask: Any, scripted: ScriptedEngine) -> None:
    await ask(temperature=0.5, top_p=0.9, prompt_cache_key="talk")
    (asked,) = scripted.asked

    assert (asked.sampling.temperature, asked.sampling.top_p, asked.session) == (0.5, 0.9, "talk")


async def test_a_request_is_told_to_operators_once(
    ask: Any, stream: Any, events: Any, scripted: ScriptedEngine
) -> None:
    await ask()
    await stream()
    told = [await events.get(), await events.get()]

    assert [(t.endpoint, t.status, t.stream, t.completion_tokens) for t in told] == [
        ("/v1/responses", "ok", False, 2),
        ("/v1/responses", "ok", True, 2),
    ]
