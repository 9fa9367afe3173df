"""What Anthropic's clients are answered, read strictly by the types of their own SDK."""

import json

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from proto.dialects.anthropic_answer import message
from proto.dialects.anthropic_content import thought_behind
from proto.dialects.anthropic_events import Events
from proto.dialects.anthropic_ids import call_id, tool_use_id
from proto.dialects.asked import Answered
from proto.errors import Code, MeshError
from proto.frames import CallDelta, Delta, End, Progress, Timings, Usage
from proto.prompt import ToolCall

EVENT = TypeAdapter(RawMessageStreamEvent)


def end(reason="stop", tokens=2, stop=None, thought=0) -> End:
    return End(0, 9, reason, Usage(10, tokens, 4, thought), Timings(0, 0, 0), stop)


def said(text) -> Delta:
    return Delta(0, 1, text, (1,))


def thought(text) -> Delta:
    return Delta(0, 1, text, (1,), (), "reasoning")


def called(arguments, call=0, id="", name="") -> CallDelta:
    return CallDelta(0, 1, call, id, name, arguments, (1,))


def read(body: bytes) -> list:
    """The events of a stream; each is of the SDK's types, under its own name."""
    found = []
    for block in body.decode().split("\n\n"):
        if block.startswith("event: "):
            name, data = block.removeprefix("event: ").split("\ndata: ")
            assert json.loads(data)["type"] == name
            if name != "ping":
                found.append(EVENT.validate_json(data))
    return found


def streamed(*frames, shows_thinking=True) -> list:
    events = Events("msg_1", "m", "r", shows_thinking)
    body = events.progress(0, Progress(0, 0, 4, 10, 4))
    for frame in frames:
        match frame:
            case Delta():
                body += events.delta(0, frame)
            case CallDelta():
                body += events.call(0, frame)
            case End():
                body += events.end(0, frame)
    return read(body)


def outline(events) -> list[str]:
    return [
        f"{event.type} {getattr(event, 'index', '')}".removeprefix("content_block_").strip()
        for event in events
    ]


def whole(shows_thinking=True, **answer) -> Message:
    answered = Answered(**({"text": "", "end": end()} | answer))
    return Message.model_validate_json(message("msg_1", "m", answered, shows_thinking))


def test_a_stream_of_text_has_all_events_in_order():
    start, block, text, stop, told, over = streamed(
        said("Hé"), said(""), end("stop_sequence", stop="X")
    )

    assert (start.message.usage.input_tokens, start.message.usage.cache_read_input_tokens) == (6, 4)
    assert (start.message.content, start.message.stop_reason) == ([], None)
    assert (block.content_block.type, block.content_block.text) == ("text", "")
    assert text.delta.text == "Hé"
    assert stop.type == "content_block_stop"
    assert (told.delta.stop_reason, told.delta.stop_sequence) == ("stop_sequence", "X")
    assert told.usage.output_tokens == 2
    assert over.type == "message_stop"


def test_thinking_text_and_calls_are_blocks_with_numbers_of_their_own():
    events = streamed(
        thought("Hm"),
        thought("."),
        said("Let me "),
        said("see."),
        called("", 0, "c0", "look"),
        called('{"at":', 0),
        called('"sea"}', 0),
        called("", 1, "c1", "wait"),
        end("tool_calls", thought=3),
    )

    assert outline(events) == [
        "message_start",
        "start 0", "delta 0", "delta 0", "delta 0", "stop 0",
        "start 1", "delta 1", "delta 1", "stop 1",
        "start 2", "delta 2", "delta 2", "stop 2",
        "start 3", "stop 3",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [event.delta.thinking for event in events[2:4]] == ["Hm", "."]
    assert events[4].delta.type == "signature_delta"
    assert events[4].delta.signature
    look, first, rest = events[10:13]
    assert (look.content_block.name, look.content_block.input) == ("look", {})
    assert first.delta.partial_json + rest.delta.partial_json == '{"at":"sea"}'
    assert events[14].content_block.id == tool_use_id("c1")
    assert events[-2].delta.stop_reason == "tool_use"
    assert events[-2].usage.output_tokens_details.thinking_tokens == 3


def test_an_answer_of_calls_alone_has_no_text_block():
    events = streamed(called("{}", 0, "c0", "look"), end("tool_calls"))

    assert [e.content_block.type for e in events if e.type == "content_block_start"] == ["tool_use"]


def test_an_empty_answer_has_no_block():
    assert outline(streamed(end())) == ["message_start", "message_delta", "message_stop"]
    assert whole().content == []


def test_words_after_a_call_are_a_block_of_their_own():
    events = streamed(said("a"), called("{}", 0, "c", "f"), said("b"), end("tool_calls"))

    kinds = [e.content_block.type for e in events if e.type == "content_block_start"]
    assert kinds == ["text", "tool_use", "text"]


def test_a_stream_that_ends_without_any_progress_still_begins():
    events = Events("msg_1", "m", "r")

    assert outline(read(events.end(0, end())))[0] == "message_start"
    assert events.is_complete


def test_signs_of_life_are_pings_once_the_message_has_begun():
    events = Events("msg_1", "m", "r")

    assert events.waiting() == b": waiting\n\n"
    events.progress(0, Progress(0, 0, 4, 10, 4))
    assert events.waiting() == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert events.progress(0, Progress(0, 1, 7, 10, 4)) == b": prefill 7/10\n\n" + events.waiting()


def test_an_error_inside_a_stream_is_an_error_event():
    body = Events("i", "m", "r").failed(MeshError(Code.ENGINE_LOST, "Gone."))

    assert body.startswith(b"event: error\ndata: ")
    assert json.loads(body.split(b"data: ")[1])["error"]["type"] == "api_error"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_calls", "tool_use"),
    ],
)
def test_a_whole_message_is_the_vendors(reason, word):
    parsed = whole(text="Hi", end=end(reason))

    assert (parsed.content[0].text, parsed.stop_reason) == ("Hi", word)
    assert (parsed.usage.input_tokens, parsed.usage.cache_read_input_tokens) == (6, 4)
    assert parsed.usage.cache_creation_input_tokens == 0
    assert parsed.usage.service_tier == "standard"


def test_a_whole_message_has_the_blocks_that_hold_something():
    parsed = whole(
        text="See.",
        reasoning="Hm.",
        calls=(ToolCall(id="c", name="look", arguments='{"at":"sea"}'),),
        end=end("tool_calls", thought=2),
    )
    thinking, text, use = parsed.content

    assert (thinking.thinking, text.text, use.input) == ("Hm.", "See.", {"at": "sea"})
    assert thinking.signature
    assert parsed.usage.output_tokens_details.thinking_tokens == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a":', {"INVALID_JSON": '{"a":'}),
        ("[1]", {"INVALID_JSON": "[1]"}),
    ],
)
def test_arguments_that_were_cut_off_are_not_lost(arguments, expected):
    call = ToolCall(id="c", name="f", arguments=arguments)

    assert whole(calls=(call,)).content[0].input == expected


def test_thinking_that_is_not_shown_is_in_its_signature():
    hidden = whole(False, reasoning="Hé, hm.", text="a").content[0]
    events = streamed(thought("Hé, "), thought("hm."), said("a"), end(), shows_thinking=False)
    deltas = [e.delta for e in events if e.type == "content_block_delta" and e.index == 0]

    assert hidden.thinking == ""
    assert thought_behind(hidden.signature) == "Hé, hm."
    assert [delta.type for delta in deltas] == ["signature_delta"]
    assert deltas[0].signature == hidden.signature


@pytest.mark.parametrize("signature", ["", "EqQB…", "odyssai.kept.!", "odyssai.kept./w=="])
def test_a_signature_of_anybody_elses_holds_no_thinking(signature):
    assert thought_behind(signature) == ""


@pytest.mark.parametrize("call", ["call_1", "functions.weather:0", "a-b", "é—", "_", "0-2d"])
def test_ids_are_such_as_the_vendor_allows_and_come_back_as_they_were(call):
    shown = tool_use_id(call)

    assert shown.startswith("toolu_")
    assert shown.isascii()
    assert set(shown) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert call_id(shown) == call


@pytest.mark.parametrize(
    "foreign", ["call_1", "toolu_a-", "toolu_a-zz", "toolu_-ff", "toolu_", "x"]
)
def test_an_id_of_another_servers_stays_as_it_is(foreign):
    assert call_id(foreign) == foreign
