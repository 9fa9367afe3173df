"""An upstream's events as frames, however the upstream says them."""

from typing import Any

import pytest
from msgspec import ValidationError, convert

from proto.frames import AnyFrame, CallDelta, Delta, End, Progress, Usage
from proto.generation import Generate
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import Text
from services.cloud.frames import Frames
from services.cloud.openai.events import Event, piece
from services.cloud.piece import Piece

REQUEST = Generate(
    request=RequestId("r"),
    gateway=GatewayId("g"),
    model=ModelId("up:m"),
    prompt=Text(text="x"),
    epoch=2,
)


def read(*choices: dict[str, Any]) -> list[AnyFrame]:
    frames = Frames(REQUEST)
    said = [
        frame
        for choice in choices
        for frame in frames.of(piece(convert({"choices": [choice]}, Event)))
    ]
    return [*said, frames.ended()]


def calling(**call: Any) -> dict[str, Any]:
    return {"delta": {"tool_calls": [call]}}


def calls(frames: list[AnyFrame]) -> list[tuple[int, str, str, str]]:
    return [
        (frame.call, frame.id, frame.name, frame.arguments)
        for frame in frames
        if isinstance(frame, CallDelta)
    ]


def end(frames: list[AnyFrame]) -> End:
    assert isinstance(frames[-1], End)
    return frames[-1]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_told_from_words(name: str) -> None:
    thought, said, _ = read({"delta": {name: "hm"}}, {"delta": {"content": "4"}})

    assert thought == Delta(2, 0, "hm", (), (), "reasoning")
    assert said == Delta(2, 1, "4", ())


def test_a_thought_and_a_word_in_one_event_keep_their_order() -> None:
    frames = read({"delta": {"content": "4", "reasoning": "hm"}})

    assert [frame.text for frame in frames if isinstance(frame, Delta)] == ["hm", "4"]


def test_a_refusal_is_what_was_said() -> None:
    assert read({"delta": {"content": None, "refusal": "No."}})[0] == Delta(2, 0, "No.", ())


def test_a_call_that_repeats_its_id_and_name_is_one_call() -> None:
    one = {"index": 0, "id": "a"}
    frames = read(
        calling(**one, function={"name": "f", "arguments": ""}),
        calling(**one, function={"name": "f", "arguments": "{"}),
        calling(index=0, id="", function={"name": None, "arguments": "}"}),
    )

    assert calls(frames) == [(0, "a", "f", ""), (0, "", "", "{"), (0, "", "", "}")]


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    frames = read(
        calling(index=0, id="a", function={"name": "f", "arguments": "{}"}),
        calling(index=0, id="b", function={"name": "g", "arguments": "{}"}),
        calling(index=0, function={"arguments": " "}),
    )

    assert calls(frames) == [(0, "a", "f", "{}"), (1, "b", "g", "{}"), (1, "", "", " ")]


def test_a_call_without_an_id_is_given_one() -> None:
    [(_, id, name, _)] = calls(read(calling(function={"name": "f", "arguments": "{}"})))

    assert id.startswith("call_")
    assert name == "f"


@pytest.mark.parametrize(
    ("reason", "is_called", "canonical"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_calls", True, "tool_calls"),
        ("length", True, "length"),
        ("content_filter", False, "stop"),
    ],
)
def test_reasons_come_down_to_ours(reason: str, is_called: bool, canonical: str) -> None:
    made = [calling(id="a", function={"name": "f", "arguments": "{"})] if is_called else []

    assert end(read(*made, {"delta": {}, "finish_reason": reason})).reason == canonical


def test_usage_counts_what_was_thought() -> None:
    frames = Frames(REQUEST)
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 9,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    frames.of(piece(convert({"choices": [], "usage": usage}, Event)))

    assert frames.ended().usage.reasoning_tokens == 4


def test_what_is_no_text_is_no_event_of_this_protocol() -> None:
    with pytest.raises(ValidationError, match="array"):
        convert({"choices": [{"delta": {"content": [{"type": "text"}]}}]}, Event)


def test_a_prompt_that_is_counted_before_the_answer_is_told_at_once() -> None:
    frames = Frames(REQUEST)
    counted = Usage(20, 1, 5)

    assert frames.of(Piece(usage=counted)) == [Progress(2, 0, 20, 20, 5)]
    assert [frame.seq for frame in frames.of(Piece(text="Calm", usage=counted))] == [1]
    assert frames.of(Piece(usage=counted)) == []
