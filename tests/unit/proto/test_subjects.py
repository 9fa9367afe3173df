"""Addresses keep their shape, messages grow without breaking anybody."""

import msgspec
import pytest
from msgspec.structs import replace

from proto import subjects
from proto.errors import Code, MeshError, Refused
from proto.frames import Delta
from proto.generation import Cancel, Generate
from proto.presence import EngineBeat, Gone
from proto.prompt import Text
from proto.subjects import (
    CANCEL,
    ENGINE_BEAT,
    ENGINE_GONE,
    GENERATE,
    NODE_BEAT,
    NODE_GONE,
    STREAM,
    Subject,
)

ALL = [value for value in vars(subjects).values() if isinstance(value, Subject)]


@pytest.mark.parametrize("subject", ALL, ids=lambda s: s.pattern)
def test_every_subject_is_versioned_or_telemetry(subject: Subject[object]) -> None:
    assert subject.pattern.startswith(("mesh.v1.", "telemetry.v1."))
    assert subject.is_json == subject.pattern.startswith("telemetry.")


@pytest.mark.parametrize("token", ["", "a.b", "*", ">", "a b", "a\r\nPUB x"])
def test_a_token_that_would_change_the_address_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        NODE_BEAT.at(token)


@pytest.mark.parametrize("engine", ["n", "n.", ".e", "n.e.more", "n.*", "n.e >", "n..e"])
def test_an_engine_is_two_tokens_of_an_address_and_never_more(engine: str) -> None:
    assert GENERATE.at("n.e") == "mesh.v1.engine.n.e.generate"
    with pytest.raises(ValueError, match="engine"):
        GENERATE.at(engine)


def test_an_address_takes_as_many_tokens_as_it_has_places() -> None:
    assert STREAM.at("g.1", "n.e", "r") == "mesh.v1.stream.g.1.n.e.r"
    with pytest.raises(ValueError, match="takes 3"):
        STREAM.at("g.1")


def test_an_address_is_bound_to_one_or_to_all_of_somebodys() -> None:
    assert STREAM.pattern == "mesh.v1.stream.*.*.*.*.*"
    assert STREAM.within(gateway="g.1") == "mesh.v1.stream.g.1.*.*.*"
    assert STREAM.within(engine="n") == "mesh.v1.stream.*.*.n.*.*"


def test_a_place_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name what stands there"):
        Subject("mesh.v1.engine.*.hold", Generate)


def test_what_is_said_in_anothers_name_is_told_from_the_truth() -> None:
    engine = EngineBeat(engine="n.e", node="n", boot="b", pid=1, state="ready", models=())
    gone = Gone(kind="engine", id="n.e")

    assert ENGINE_BEAT.is_proven("mesh.v1.beat.engine.n.e", engine)
    assert not ENGINE_BEAT.is_proven("mesh.v1.beat.engine.m.e", engine)
    assert not ENGINE_BEAT.is_proven("mesh.v1.beat.engine.n.e", replace(engine, node="m"))
    assert ENGINE_GONE.is_proven("mesh.v1.gone.engine.n.e", gone)
    assert not ENGINE_GONE.is_proven("mesh.v1.gone.engine.n.f", gone)
    assert not NODE_GONE.is_proven("mesh.v1.gone.node.n", replace(gone, id="n"))


def test_what_came_by_another_way_than_its_address_proves_nothing() -> None:
    assert CANCEL.is_proven("mesh.v1.engine.n.e.cancel", Cancel(request="r"))
    assert not CANCEL.is_proven("$KV.stores.n", Cancel(request="r"))


def test_a_message_survives_the_wire() -> None:
    asked = Generate(request="r", gateway="g", model="m", prompt=Text(text="hi"))

    assert GENERATE.decode(GENERATE.encode(asked)) == asked


def test_what_a_newer_peer_adds_is_ignored() -> None:
    newer = msgspec.msgpack.encode(
        {"request": "r", "gateway": "g", "model": "m", "prompt": {"type": "text", "text": "x"},
         "colour": "red"}
    )  # fmt: skip
    longer = msgspec.msgpack.encode([2, 0, 1, "text", [5], [], "content", "", "", "more"])

    assert GENERATE.decode(newer).request == "r"
    assert STREAM.decode(longer) == Delta(0, 1, "text", (5,))


@pytest.mark.parametrize("code", Code)
def test_an_error_is_the_same_after_the_bus(code: Code) -> None:
    error = MeshError(code, "why", param="p", retry_after_s=1.0)
    after = error.refusal().error()

    assert (after.code, after.message, after.param, after.retry_after_s) == (code, "why", "p", 1.0)


def test_a_code_of_a_newer_peer_counts_as_internal() -> None:
    assert Refused(code="brand_new", message="?").error().code is Code.INTERNAL
