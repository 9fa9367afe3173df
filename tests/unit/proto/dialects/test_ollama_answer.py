import json

from proto.dialects.asked import Answered
from proto.dialects.ollama_answer import ChatEvents, GenerateEvents, chat_answer, generate_answer
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
from proto.prompt import ToolCall

LOGPROBS = (PositionLogprobs(TokenLogprob(5, b"Hi", -0.5), (TokenLogprob(6, b"Ho", -99999.0),)),)


def end(reason="stop") -> End:
    return End(0, 9, reason, Usage(10, 3, 4), Timings(0.5, 1.0, 2.0))


def lines(*parts: bytes) -> list[dict]:
    """Without the times, which are looked at once, below."""
    body = b"".join(parts)
    assert not body or body.endswith(b"\n")
    said = [json.loads(line) for line in body.splitlines()]
    for line in said:
        line.pop("created_at", None)
    return said


def delta(text: str, channel="content", **more) -> Delta:
    return Delta(0, 1, text, (1,), channel=channel, **more)


def call(at: int, arguments: str, id: str = "", name: str = "") -> CallDelta:
    return CallDelta(0, 1, at, id, name, arguments, (1,))


ENDED = {
    "model": "m",
    "done": True,
    "done_reason": "stop",
    "total_duration": 3_500_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 10,
    "prompt_eval_duration": 1_000_000_000,
    "eval_count": 3,
    "eval_duration": 2_000_000_000,
}


def test_a_chat_is_streamed_line_by_line():
    events = ChatEvents("m")
    said = lines(
        events.progress(0, Progress(0, 0, 4, 10, 4)),
        events.delta(0, delta("Hm.", "reasoning")),
        events.delta(0, delta("")),
        events.delta(0, delta('"Hé"')),
    )

    assert said == [
        {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "Hm."},
         "done": False},
        {"model": "m", "message": {"role": "assistant", "content": '"Hé"'}, "done": False},
    ]  # fmt: skip
    assert not events.is_complete
    (last,) = lines(events.end(0, end()))
    assert last == ENDED | {"message": {"role": "assistant", "content": ""}}
    assert events.is_complete


def test_every_line_tells_when_it_was_made():
    line = json.loads(GenerateEvents("m").delta(0, delta("x")))

    assert line["created_at"].endswith("Z")
    assert len(line["created_at"]) == len("2026-01-01T00:00:00.000000Z")


def test_a_signal_of_life_says_nothing():
    events = ChatEvents("m")
    first, second = (events.progress(0, Progress(0, n, n, 10, 0)) for n in range(2))

    assert first == b""
    nothing = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": False}
    assert lines(second, events.waiting()) == [nothing, nothing]


def test_calls_are_sent_whole_once_something_else_follows():
    events = ChatEvents("m")
    assert events.call(0, call(0, '{"a"', "c1", "f")) == b""
    assert events.call(0, call(0, ":1}")) == b""
    assert events.delta(0, delta("")) == b""
    (first,) = lines(events.call(0, call(1, "", "c2", "g")))
    second, last = lines(events.end(0, end("tool_calls")))

    assert first["message"]["tool_calls"] == [
        {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    ]
    assert second["message"]["tool_calls"] == [
        {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}}
    ]
    assert (last["done_reason"], "x_odyssai" in last) == ("stop", False)


def test_words_after_a_call_come_after_it():
    events = ChatEvents("m")
    events.call(0, call(0, "{}", "c1", "f"))
    called, said = lines(events.delta(0, delta("So.")))

    assert called["message"]["tool_calls"][0]["id"] == "c1"
    assert said["message"]["content"] == "So."


def test_a_call_that_was_cut_off_is_reported_and_not_made():
    events = ChatEvents("m")
    events.call(0, call(0, '{"a": "tr', "c1", "f"))
    (last,) = lines(events.end(0, end("length")))

    report = {"unfinished_call": {"name": "f", "arguments": '{"a": "tr'}}
    assert (last["done_reason"], last["x_odyssai"]) == ("length", report)
    cut = Answered(text="", calls=(ToolCall(id="c1", name="f", arguments='{"a": "tr'),), end=end())
    whole = json.loads(chat_answer("m", cut))
    assert whole["x_odyssai"] == report
    assert "tool_calls" not in whole["message"]


def test_a_whole_chat_has_words_thoughts_and_calls():
    answer = Answered(
        text="Hi",
        reasoning="Hm.",
        calls=(ToolCall(id="c1", name="f", arguments='{"a":1}'),),
        end=end(),
    )
    (said,) = lines(chat_answer("m", answer) + b"\n")

    assert said == ENDED | {
        "message": {
            "role": "assistant",
            "content": "Hi",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
            ],
        }
    }


def test_a_prompt_is_answered_with_a_response():
    events = GenerateEvents("m")
    said = lines(
        events.delta(0, delta("Hm.", "reasoning")),
        events.delta(0, delta("Hi")),
        events.end(0, end("length")),
    )

    assert said == [
        {"model": "m", "response": "", "thinking": "Hm.", "done": False},
        {"model": "m", "response": "Hi", "done": False},
        ENDED | {"response": "", "done_reason": "length"},
    ]
    (whole,) = lines(generate_answer("m", Answered(text="Hi", reasoning="Hm.", end=end())) + b"\n")
    assert whole == ENDED | {"response": "Hi", "thinking": "Hm."}


def test_logprobs_come_with_the_words():
    (line,) = lines(GenerateEvents("m").delta(0, delta("Hi", logprobs=LOGPROBS)))

    assert line["logprobs"] == [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -9999.0, "bytes": [72, 111]}],
        }
    ]
    whole = json.loads(chat_answer("m", Answered(text="Hi", logprobs=LOGPROBS, end=end())))
    assert whole["logprobs"] == line["logprobs"]


def test_a_stop_string_is_a_stop():
    (last,) = lines(ChatEvents("m").end(0, end("stop_sequence")))

    assert last["done_reason"] == "stop"


def test_a_failure_is_a_line_of_its_own():
    told = ChatEvents("m").failed(MeshError(Code.ENGINE_LOST, "It is gone."))

    assert told == b'{"error":"It is gone."}\n'
