"""Addresses keep their shape, messages grow without breaking anybody."""

import msgspec
import pytest

from proto import subjects
from proto.errors import Code, MeshError, Refused
from proto.frames import Delta
from proto.inference import Generate, Text
from proto.subjects import GENERATE, STREAM, Subject

ALL = [value for value in vars(subjects).values() if isinstance(value, Subject)]


@pytest.mark.parametrize("subject", ALL, ids=lambda s: s.pattern)
def test_every_subject_is_versioned_or_telemetry(subject: Subject[object]) -> None:
    assert subject.pattern.startswith(("mesh.v1.", "telemetry.v1."))
    assert subject.is_json == subject.pattern.startswith("telemetry.")


@pytest.mark.parametrize("token", ["", "a.b", "*", ">", "a b", "a\r\nPUB x"])
def test_a_token_that_would_change_the_address_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        GENERATE.at(token)


def test_an_address_takes_as_many_tokens_as_it_has_stars() -> None:
    assert STREAM.at("g", "e", "r") == "mesh.v1.stream.g.e.r"
    with pytest.raises(ValueError, match="takes 3"):
        STREAM.at("g")


def test_a_message_survives_the_wire() -> None:
    asked = Generate(request="r", gateway="g", model="m", prompt=Text(text="hi"))

    assert GENERATE.decode(GENERATE.encode(asked)) == asked


def test_what_a_newer_peer_adds_is_ignored() -> None:
    newer = msgspec.msgpack.encode(
        {"request": "r", "gateway": "g", "model": "m", "prompt": {"type": "text", "text": "x"},
         "colour": "red"}
    )  # fmt: skip
    longer = msgspec.msgpack.encode([2, 0, 1, "text", [5], [], "content", "more"])

    assert GENERATE.decode(newer).request == "r"
    assert STREAM.decode(longer) == Delta(0, 1, "text", (5,))


@pytest.mark.parametrize("code", Code)
def test_an_error_is_the_same_after_the_bus(code: Code) -> None:
    error = MeshError(code, "why", param="p", retry_after_s=1.0)
    after = error.refusal().error()

    assert (after.code, after.message, after.param, after.retry_after_s) == (code, "why", "p", 1.0)


def test_a_code_of_a_newer_peer_counts_as_internal() -> None:
    assert Refused(code="brand_new", message="?").error().code is Code.INTERNAL
