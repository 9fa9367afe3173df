"""What an answer of the Responses API comes to, read along."""

import json
from typing import Any

import msgspec
import pytest

from proto.errors import MeshError
from proto.frames import Usage
from services.cloud.openai.responses import Reading
from services.cloud.piece import Piece

SPENT = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
}
CUT = {"incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"incomplete_details": {"reason": "content_filter"}}


@pytest.fixture
def reading() -> Reading:
    return Reading("up")


def event(kind: str, **more: Any) -> bytes:
    return json.dumps({"type": kind, **more}).encode()


@pytest.mark.parametrize(
    ("kind", "response", "reason", "cause"),
    [
        ("completed", {"usage": SPENT}, "stop", ""),
        ("incomplete", {"usage": SPENT, **CUT}, "length", ""),
        ("incomplete", {"usage": SPENT, **FILTERED}, "stop", "refusal"),
    ],
)
def test_its_last_event_says_what_it_took(
    reading: Reading, kind: str, response: dict[str, Any], reason: str, cause: str
) -> None:
    assert not reading.is_complete
    piece = reading.event(event(f"response.{kind}", response=response))

    assert piece == Piece(reason=reason, cause=cause, usage=Usage(9, 5, 4, 2))
    assert reading.is_complete
    assert Reading("up").whole(json.dumps(response).encode()) == piece


def test_text_is_counted_whatever_it_is_of(reading: Reading) -> None:
    piece = reading.event(event("response.output_text.delta", delta="Calm"))

    assert piece == Piece(chars=4)
    assert reading.event(event("response.output_item.added", item={})) is None
    assert not reading.is_complete


@pytest.mark.parametrize(
    "failure",
    [
        event("response.failed", response={"error": {"message": "it fell over"}}),
        event("error", message="it fell over"),
    ],
)
def test_a_failure_is_raised_in_its_words(reading: Reading, failure: bytes) -> None:
    with pytest.raises(MeshError, match="'up' failed: it fell over"):
        reading.event(failure)


def test_what_is_in_another_form_says_nothing(reading: Reading) -> None:
    assert reading.event(event("response.hologram", delta={"of": 1}, response=3)) is None
    assert reading.event(event("response.completed", response=["new"])) == Piece(reason="stop")
    assert reading.is_complete
    assert reading.whole(b'{"usage": 7}') == Piece(reason="stop")
    with pytest.raises(msgspec.DecodeError):
        reading.event(b"nonsense")
