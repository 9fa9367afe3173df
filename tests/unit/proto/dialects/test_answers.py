import json
import math

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proto.dialects.asked import Answered, Asked
from proto.dialects.openai_answer import Heading, chat_completion, text_completion
from proto.dialects.openai_events import ChatEvents, TextEvents
from proto.errors import Code, MeshError
from proto.frames import (
    CallDelta,
    Delta,
    End,
    PositionLogprobs,
    Progress,
    Timings,
    TokenLogprob,
    Usage,
)
from proto.prompt import Text, ToolCall

HEADING = Heading("id-1", "chat.completion.chunk", 1, 'a "model"', "fp_1")
LOGPROBS = (
    PositionLogprobs(
        TokenLogprob(1, "é".encode()[:1], -0.5),
        (TokenLogprob(1, "é".encode()[:1], -0.5), TokenLogprob(2, b"b", -math.inf)),
    ),
)


def asked(**fields) -> Asked:
    return Asked(**({"model": "m", "prompts": (Text(text="x"),)} | fields))


def end(reason="stop", tokens=2, stop=None) -> End:
    return End(0, 9, reason, Usage(10, tokens, 4), Timings(0, 0, 0), stop)


def answered(text="Hi", **fields) -> Answered:
    return Answered(text=text, end=end(**fields))


def delta(text, logprobs=()) -> Delta:
    return Delta(0, 1, text, (1,), logprobs)


def construct(kind):
    """As the SDK reads it: without validation."""
    return lambda line: kind.construct(**json.loads(line))


def chunks(body: bytes, read=ChatCompletionChunk.model_validate_json) -> list:
    """What a client parses; strictly, so that a missing field would be noticed."""
    lines = body.decode().split("\n\n")
    assert lines[-1] == ""
    data = [line.removeprefix("data: ") for line in lines[:-1] if line.startswith("data: ")]
    return [line if line == "[DONE]" else read(line) for line in data]


def test_a_chat_stream_is_role_deltas_finish_and_done():
    events = ChatEvents(asked(), HEADING)

    body = events.delta(0, delta('"Hé\n')) + events.delta(0, delta("!")) + events.end(0, end())
    role, first, second, finish, done = chunks(body)

    assert role.choices[0].delta.role == "assistant"
    assert [first.choices[0].delta.content, second.choices[0].delta.content] == ['"Hé\n', "!"]
    assert finish.choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in (role, first, second, finish)} == {"id-1"}
    assert (first.model, first.system_fingerprint, first.usage) == ('a "model"', "fp_1", None)
    assert done == "[DONE]"
    assert events.is_complete


def test_usage_comes_last_with_no_choices_and_is_null_before():
    events = ChatEvents(asked(include_usage=True), HEADING)

    body = events.delta(0, delta("a")) + events.end(0, end("length"))
    *before, usage, _ = chunks(body)

    assert b'"usage":null' in events.delta(0, delta("b"))
    assert [chunk.usage for chunk in before] == [None] * 3
    assert before[-1].choices[0].finish_reason == "length"
    assert usage.choices == []
    assert (usage.usage.prompt_tokens, usage.usage.total_tokens) == (10, 12)
    assert usage.usage.prompt_tokens_details.cached_tokens == 4
    assert usage.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_stop_string_is_a_stop_to_openai():
    body = ChatEvents(asked(), HEADING).end(0, end("stop_sequence", stop="X"))

    assert [c.choices[0].finish_reason for c in chunks(body)[:-1]] == [None, "stop"]


def test_choices_interleave_and_only_the_last_to_end_closes_the_stream():
    events = ChatEvents(asked(n=2, include_usage=True), HEADING)

    first = events.delta(1, delta("b")) + events.delta(0, delta("a")) + events.end(1, end())
    assert not events.is_complete
    last = events.end(0, end(tokens=3))

    assert [c.choices[0].index for c in chunks(first)] == [1, 1, 0, 0, 1]
    assert chunks(last)[-1] == "[DONE]"
    usage = chunks(last)[-2].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)


def test_a_delta_without_text_is_not_worth_an_event():
    events = ChatEvents(asked(), HEADING)
    events.delta(0, delta("a"))

    assert events.delta(0, delta("")) == b""


def test_logprobs_travel_with_their_chunk_in_finite_numbers():
    events = ChatEvents(asked(logprobs=2), HEADING)

    _, chunk = chunks(events.delta(0, delta("", LOGPROBS)))
    position = chunk.choices[0].logprobs.content[0]

    assert (position.token, position.bytes, position.logprob) == ("�", [0xC3], -0.5)
    assert position.top_logprobs[1].logprob == -9999


def test_an_error_inside_a_stream_is_an_error_object_and_no_done():
    body = ChatEvents(asked(), HEADING).failed(MeshError(Code.ENGINE_LOST, "Gone."))

    assert json.loads(body.removeprefix(b"data: "))["error"]["code"] == "engine_lost"


def test_prefill_shows_as_a_comment():
    assert ChatEvents(asked(), HEADING).progress(0, Progress(0, 0, 5, 9, 0)) == (
        b": prefill 5/9\n\n"
    )


def test_a_whole_chat_completion_is_the_vendors():
    wish = asked(n=2, logprobs=0)
    answers = [Answered(text="a", logprobs=LOGPROBS, end=end()), answered("b")]

    parsed = ChatCompletion.model_validate_json(chat_completion(wish, HEADING, answers))

    assert [choice.message.content for choice in parsed.choices] == ["a", "b"]
    assert parsed.choices[0].logprobs.content[0].logprob == -0.5
    assert (parsed.object, parsed.usage.completion_tokens) == ("chat.completion", 4)


def test_a_whole_text_completion_counts_every_prompt_once():
    wish = asked(prompts=(Text(text="x"), Text(text="y")), n=2, logprobs=2)
    answers = [Answered(text="a", logprobs=LOGPROBS * 2, end=end()), *[answered()] * 3]

    parsed = Completion.model_validate_json(text_completion(wish, HEADING, answers))

    assert (parsed.usage.prompt_tokens, parsed.usage.completion_tokens) == (20, 8)
    logprobs = parsed.choices[0].logprobs
    assert logprobs.text_offset == [0, 1]
    assert logprobs.top_logprobs[0] == {"�": -0.5, "b": -9999}


def thought(text) -> Delta:
    return Delta(0, 1, text, (1,), LOGPROBS, "reasoning")


def call(arguments, call=0, name="") -> CallDelta:
    return CallDelta(0, 1, call, name and f"call_{call}", name, arguments, (1,))


def called_twice(events) -> bytes:
    frames = [call("", 0, "f"), call('{"a":'), call("1}"), call("{}", 1, "g")]
    return b"".join(events.call(0, frame) for frame in frames) + events.end(0, end("tool_calls"))


def test_calls_stream_with_their_name_first_and_arguments_piece_by_piece():
    role, *deltas, finish, _ = chunks(called_twice(ChatEvents(asked(), HEADING)))

    assert (role.choices[0].delta.role, role.choices[0].delta.content) == ("assistant", None)
    said = [chunk.choices[0].delta.tool_calls[0] for chunk in deltas]
    assert [(c.index, c.id, c.type, c.function.name, c.function.arguments) for c in said] == [
        (0, "call_0", "function", "f", ""),
        (0, None, None, None, '{"a":'),
        (0, None, None, None, "1}"),
        (1, "call_1", "function", "g", "{}"),
    ]
    assert finish.choices[0].finish_reason == "tool_calls"


def test_words_may_precede_a_call():
    events = ChatEvents(asked(), HEADING)
    role, said, made = chunks(events.delta(0, delta("Well.")) + events.call(0, call("", 0, "f")))

    assert (role.choices[0].delta.content, said.choices[0].delta.content) == ("", "Well.")
    assert made.choices[0].delta.content is None


def test_the_older_form_of_a_call_streams_without_ids_and_indexes():
    body = called_twice(ChatEvents(asked(calls_functions=True), HEADING))
    _, *deltas, finish, _ = chunks(body)

    said = [chunk.choices[0].delta.function_call for chunk in deltas]
    assert [(call.name, call.arguments) for call in said] == [
        ("f", ""), (None, '{"a":'), (None, "1}"),
    ]  # fmt: skip
    assert finish.choices[0].finish_reason == "function_call"
    assert b"tool_calls" not in body


def test_what_was_thought_streams_under_both_names_and_without_logprobs():
    events = ChatEvents(asked(logprobs=1), HEADING)

    role, first, said = chunks(events.delta(0, thought("hm")) + events.delta(0, delta("4")))

    assert role.choices[0].delta.content is None
    assert first.choices[0].delta.reasoning_content == first.choices[0].delta.reasoning == "hm"
    assert first.choices[0].logprobs is None
    assert said.choices[0].delta.content == "4"


def test_what_was_thought_is_a_sign_of_life_where_it_is_not_to_be_shown():
    events = ChatEvents(asked(shows_reasoning=False), HEADING)

    hidden = events.delta(0, thought("hm"))
    role, said = chunks(events.delta(0, delta("4")))

    assert chunks(hidden) == []
    assert hidden.startswith(b": ")
    assert (role.choices[0].delta.content, said.choices[0].delta.content) == ("", "4")


CALLS = (ToolCall(id="a", name="f", arguments='{"x":1}'), ToolCall(id="b", name="g", arguments=""))


def whole(answer, **fields) -> ChatCompletion:
    body = chat_completion(asked(**fields), HEADING, [answer])
    return ChatCompletion.model_validate_json(body)


def test_a_whole_answer_that_only_calls_has_no_content():
    parsed = whole(Answered(text="", calls=CALLS, end=end("tool_calls")))
    message = parsed.choices[0].message

    assert (message.content, parsed.choices[0].finish_reason) == (None, "tool_calls")
    assert [(c.id, c.type, c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("a", "function", "f", '{"x":1}'),
        ("b", "function", "g", ""),
    ]
    assert message.function_call is None


def test_a_call_that_was_cut_off_is_reported_as_far_as_it_came():
    parsed = whole(Answered(text="Well.", calls=CALLS[1:], end=end("length")))

    assert parsed.choices[0].message.content == "Well."
    assert parsed.choices[0].message.tool_calls[0].function.arguments == ""
    assert parsed.choices[0].finish_reason == "length"


def test_the_older_form_of_a_call_comes_whole():
    answer = Answered(text="", calls=CALLS[:1], end=end("tool_calls"))
    parsed = whole(answer, calls_functions=True)

    assert parsed.choices[0].finish_reason == "function_call"
    assert parsed.choices[0].message.function_call.arguments == '{"x":1}'
    assert parsed.choices[0].message.tool_calls is None


def test_thinking_comes_whole_under_both_names_and_is_counted():
    thorough = End(0, 9, "stop", Usage(10, 5, 4, 3), Timings(0, 0, 0))
    parsed = whole(Answered(text="4", reasoning="hm", end=thorough))
    hidden = whole(Answered(text="4", reasoning="hm", end=thorough), shows_reasoning=False)

    message = parsed.choices[0].message
    assert (message.content, message.reasoning_content, message.reasoning) == ("4", "hm", "hm")
    assert parsed.usage.completion_tokens_details.reasoning_tokens == 3
    assert "reasoning" not in (hidden.choices[0].message.model_extra or {})


def test_an_answer_without_calls_and_thoughts_has_no_fields_for_them():
    message = json.loads(chat_completion(asked(), HEADING, [answered()]))["choices"][0]["message"]

    assert message == {"role": "assistant", "content": "Hi", "refusal": None}


def test_an_echo_stands_before_each_choice():
    wish = asked(prompts=(Text(text="x"), Text(text="y")), n=2, echo=True)

    body = text_completion(wish, HEADING, [answered("a")] * 4)

    texts = [choice.text for choice in Completion.model_validate_json(body).choices]
    assert texts == ["xa", "xa", "ya", "ya"]


@pytest.mark.parametrize("is_prefill_seen", [True, False])
def test_an_echo_streams_once_and_as_early_as_it_can(is_prefill_seen):
    events = TextEvents(asked(echo=True), HEADING)
    prefill = Progress(0, 0, 5, 9, 0)

    body = events.progress(0, prefill) + events.progress(0, prefill) if is_prefill_seen else b""
    body += events.delta(0, delta("a")) + events.end(0, end())

    texts = [chunk.choices[0].text for chunk in chunks(body, construct(Completion))[:-1]]
    assert texts == ["x", "a", ""]


def test_nothing_but_the_echo_streams_where_no_token_was_asked_for():
    body = TextEvents(asked(echo=True), HEADING).end(0, end("length", tokens=0))

    assert [c.choices[0].text for c in chunks(body, construct(Completion))[:-1]] == ["x", ""]


def test_a_text_stream_has_text_in_place_of_deltas():
    events = TextEvents(asked(logprobs=1), HEADING)

    body = events.delta(0, delta("a", LOGPROBS)) + events.delta(0, delta("b", LOGPROBS))
    # The SDK's type is that of a whole completion; the vendor's chunks have null reasons, too.
    read = chunks(body + events.end(0, end()), construct(Completion))
    first, second, finish, done = read

    assert (first.choices[0].text, second.choices[0].text, done) == ("a", "b", "[DONE]")
    assert second.choices[0].logprobs.text_offset == [1]
    assert finish.choices[0].finish_reason == "stop"
