"""Whatever comes over the bus or lies in a record: it is a message, or refused as none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto import subjects
from proto.config import ConfigLayer
from proto.dialects.responses.stored import StoredResponse, ToldEvents
from proto.jobs import Job
from proto.plan import NodePlan
from proto.state import EngineRecord, LeaseRecord
from proto.store import Store
from proto.subjects import Question, Subject

SUBJECTS = {name: it for name, it in vars(subjects).items() if isinstance(it, Subject)}
QUESTIONS = {name: it for name, it in SUBJECTS.items() if isinstance(it, Question)}
RECORDS = (ConfigLayer, EngineRecord, Job, LeaseRecord, NodePlan, Store, StoredResponse, ToldEvents)

LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
WORDS = st.sampled_from(
    sorted({word for it in SUBJECTS.values() for word in getattr(it.type, "__struct_fields__", ())})
)
VALUES = st.recursive(
    LEAVES | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)
PACKED = st.binary(max_size=200) | VALUES.map(msgspec.msgpack.encode)
JSON = st.binary(max_size=200) | VALUES.filter(msgspec.json.encode).map(msgspec.json.encode)
DEEP = (b"\x91" * 100_000, b"[" * 100_000, b'{"a":' * 100_000, b"\x81\xa1a" * 100_000)


def reads(decode, body: bytes) -> object:
    """What it is read as; None for what is no message."""
    try:
        return decode(body)
    except msgspec.DecodeError:
        return None


@pytest.mark.parametrize("name", SUBJECTS)
@given(packed=PACKED, json=JSON)
def test_a_subject_takes_messages_of_its_type_and_nothing_else(name, packed, json):
    subject = SUBJECTS[name]
    read = reads(subject.decode, json if subject.is_json else packed)

    if read is not None:
        assert msgspec.convert(msgspec.to_builtins(read), subject.type) == read or "nan" in str(
            read
        )


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_nested_without_end_is_no_message(name):
    subject = SUBJECTS[name]

    assert [reads(subject.decode, body) for body in DEEP] == [None] * len(DEEP)


@pytest.mark.parametrize("name", QUESTIONS)
@given(packed=PACKED)
def test_an_answer_is_one_or_none(name, packed):
    reads(QUESTIONS[name].decode_answer, packed)


@given(frame=VALUES, cut=st.integers(0, 40), flip=st.integers(0, 255))
def test_a_frame_that_was_damaged_is_another_frame_or_none(frame, cut, flip):
    body = bytearray(msgspec.msgpack.encode([2, 0, 1, "text", [5, 6], [], "content"]))
    place = cut % len(body)
    body[place] ^= flip

    reads(subjects.STREAM.decode, bytes(body))
    reads(subjects.STREAM.decode, bytes(body[:place]))
    reads(subjects.STREAM.decode, msgspec.msgpack.encode([2, 0, frame, frame, frame]))


@pytest.mark.parametrize("record", RECORDS)
@given(json=JSON)
def test_a_record_is_one_or_unreadable(record, json):
    reads(msgspec.json.Decoder(record).decode, json)
