"""Anthropic's own SDK against a mesh: shapes, numbers, streams."""

from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest

from tests.mesh.asking import chat, message, message_body


def text_of(answer: anthropic.types.Message) -> str:
    (block,) = answer.content
    assert block.type == "text"
    return block.text


def test_a_message_is_answered_in_the_exact_shape(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(**message(max_tokens=8))

    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "tiny")
    assert answer.id.startswith("msg_")
    assert [block.type for block in answer.content] == ["text"]
    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)
    assert answer.usage.output_tokens == 8
    assert answer.usage.input_tokens > 0
    assert not answer.model_extra


def test_both_dialects_say_the_same(claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    ours = claude.messages.create(**message())
    theirs = gpt.chat.completions.create(**chat())

    assert text_of(ours) == theirs.choices[0].message.content


def test_a_stream_is_the_vendor_s_sequence_of_events(http: httpx.Client) -> None:
    answer = http.post("/v1/messages", json=message_body(max_tokens=6, stream=True))

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [event for event in answer.text.split("\n\n") if event and event[0] != ":"]
    names = [event.partition("\n")[0].removeprefix("event: ") for event in events]
    data = [msgspec.json.decode(event.partition("\ndata: ")[2]) for event in events]
    assert [each["type"] for each in data] == names
    deltas = names.count("content_block_delta")
    assert deltas > 0
    assert names == [
        "message_start", "ping", "content_block_start", *["content_block_delta"] * deltas,
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert data[0]["message"]["content"] == []
    assert data[0]["message"]["stop_reason"] is None


def test_a_stream_says_what_a_whole_message_says(claude: anthropic.Anthropic) -> None:
    claude.messages.create(**message())
    whole = claude.messages.create(**message())
    with claude.messages.stream(**message()) as stream:
        told = "".join(stream.text_stream)
        streamed = stream.get_final_message()

    assert told == text_of(streamed) == text_of(whole)
    assert streamed.usage == whole.usage
    assert (streamed.stop_reason, streamed.model) == (whole.stop_reason, whole.model)


def test_the_first_event_has_the_prompt_s_true_size(claude: anthropic.Anthropic) -> None:
    claude.messages.create(**message())
    usage = claude.messages.create(**message(max_tokens=3)).usage
    events = list(claude.messages.create(**message(max_tokens=3), stream=True))

    start = events[0]
    assert start.type == "message_start"
    assert start.message.usage.input_tokens == usage.input_tokens
    assert start.message.usage.cache_read_input_tokens == usage.cache_read_input_tokens


async def test_the_async_client_reads_the_same(
    claude: anthropic.Anthropic, async_claude: anthropic.AsyncAnthropic
) -> None:
    whole = await async_claude.messages.create(**message())
    async with async_claude.messages.stream(**message()) as stream:
        streamed = await stream.get_final_message()

    expected = text_of(claude.messages.create(**message()))
    assert text_of(whole) == text_of(streamed) == expected


def test_tokens_are_counted_as_they_are_used(claude: anthropic.Anthropic) -> None:
    asked = {
        "model": "tiny",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Über 10 naïve Wörter?"}]},
            {"role": "assistant", "content": "Ja."},
            {"role": "user", "content": "How so?"},
        ],
    }
    counted = claude.messages.count_tokens(**asked).input_tokens
    usage = claude.messages.create(**asked, max_tokens=2).usage

    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_a_last_turn_of_the_assistant_is_continued(claude: anthropic.Anthropic) -> None:
    turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one two"}]
    plain = claude.messages.count_tokens(model="tiny", messages=turns[:1]).input_tokens
    begun = claude.messages.count_tokens(model="tiny", messages=turns).input_tokens

    assert begun > plain
    assert claude.messages.create(model="tiny", messages=turns, max_tokens=3).content


def test_a_conversation_with_calls_and_results_is_counted_as_it_is_used(
    claude: anthropic.Anthropic,
) -> None:
    use: Any = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sea"}}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "blue"}
    asked: Any = {
        "model": "tiny",
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
            {"role": "system", "content": "Be brief."},
        ],
    }
    counted = claude.messages.count_tokens(**asked).input_tokens
    usage = claude.messages.create(**asked, max_tokens=2).usage
    less = claude.messages.count_tokens(model="tiny", messages=asked["messages"][:1]).input_tokens

    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert counted > less


def test_models_are_listed_and_shown(claude: anthropic.Anthropic) -> None:
    listed = claude.models.list()

    assert [model.id for model in listed.data] == ["roomy", "tiny"]
    assert listed.has_more is False
    shown = claude.models.retrieve("tiny")
    assert (shown.type, shown.id) == ("model", "tiny")
    assert shown.created_at.year > 2000
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("absent")
