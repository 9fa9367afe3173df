"""What a newer version says is understood as far as it can be, and else refused, never more."""

import re
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from proto import subjects
from proto.cluster import ClusterConfig
from proto.config import ConfigLayer
from proto.dialects.responses.stored import StoredResponse, ToldEvents
from proto.jobs import Job
from proto.plan import NodePlan
from proto.presence import EngineBeat
from proto.provider import KnownCatalog, SealedKey, Vault
from proto.state import EngineRecord, LeaseRecord
from proto.store import Store
from proto.subjects import Question, Subject

SUBJECTS = {name: it for name, it in vars(subjects).items() if isinstance(it, Subject)}
RECORDS = (
    ConfigLayer, EngineRecord, Job, KnownCatalog, LeaseRecord, NodePlan, SealedKey, Store,
    StoredResponse, ToldEvents, Vault,
)  # fmt: skip
TYPES = {
    **{name: it.type for name, it in SUBJECTS.items()},
    **{f"{name}'s answer": it.answer for name, it in SUBJECTS.items() if isinstance(it, Question)},
    **{record.__name__: record for record in RECORDS},
}
SPECIAL: dict[type, Any] = {ClusterConfig: {"members": [{"node": "a"}, {"node": "b"}]}}
"""Types whose fields must fit together."""


def matching(pattern: str) -> str:
    """One of a few words that fit the patterns there are."""
    words = ("x", "http://x", "0" * 64, "U" + "A" * 55)
    return next(word for word in words if re.search(pattern, word))


class Example:
    """Of a type: every field filled in, as this version says it and as a newer one does."""

    def __init__(self, *, is_newer: bool) -> None:
        self._is_newer = is_newer

    def of(self, type_: inspect.Type, depth: int = 0) -> Any:
        match type_:
            case inspect.Metadata(type=inner):
                return self.of(inner, depth)
            case inspect.UnionType(types=types):
                return self.of(types[-1 if depth > 6 else 0], depth)
            case inspect.StructType():
                return self._struct(type_, depth)
            case inspect.DictType(key_type=key, value_type=value):
                return {self.of(key, depth): self.of(value, depth)} if depth < 6 else {}
            case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
                return [self.of(item, depth + 1)] if depth < 6 else []
            case inspect.TupleType(item_types=items):
                return [self.of(item, depth + 1) for item in items]
            case inspect.LiteralType(values=values):
                return values[0]
            case inspect.StrType(pattern=pattern):
                return matching(pattern) if pattern else "x"
            case inspect.IntType() | inspect.FloatType():
                return 1
            case inspect.BoolType():
                return True
            case inspect.DateTimeType():
                return "2030-01-01T00:00:00Z"
            case inspect.BytesType():
                return b"x"
            case inspect.NoneType() | inspect.AnyType():
                return None
        raise AssertionError(f"no example of {type_}")

    def _struct(self, type_: inspect.StructType, depth: int) -> Any:
        if type_.cls in SPECIAL:
            return SPECIAL[type_.cls]
        fields = [self.of(field.type, depth + 1) for field in type_.fields]
        is_open = self._is_newer and not type_.forbid_unknown_fields
        if type_.array_like:
            tag = [] if type_.tag is None else [type_.tag]
            return [*tag, *fields, *(["from the future", {"a": 1}] if is_open else [])]
        named = dict(zip((field.encode_name for field in type_.fields), fields, strict=True))
        tag = {} if type_.tag is None else {type_.tag_field: type_.tag}
        return tag | named | ({"of_the_future": [1, {"a": None}]} if is_open else {})


@pytest.mark.parametrize("name", TYPES)
def test_fields_that_this_version_does_not_know_change_nothing(name: str) -> None:
    type_ = inspect.type_info(TYPES[name])
    for each in type_.types if isinstance(type_, inspect.UnionType) else (type_,):
        plain = msgspec.msgpack.encode(Example(is_newer=False).of(each))
        newer = msgspec.msgpack.encode(Example(is_newer=True).of(each))

        read = msgspec.msgpack.decode(newer, type=TYPES[name])
        assert read == msgspec.msgpack.decode(plain, type=TYPES[name])


FRAME = [99, 0, 7, "what a newer engine says"]
BEAT = msgspec.to_builtins(
    EngineBeat(engine="e", node="n", boot="b", pid=1, state="ready", models=())
) | {"state": "hibernating"}


@pytest.mark.parametrize(
    ("subject", "said"),
    [(subjects.STREAM, FRAME), (subjects.ENGINE_BEAT, BEAT), (subjects.SUBMIT, {"order": 1})],
)
def test_tags_and_words_that_this_version_does_not_know_are_malformed(
    subject: Subject[Any], said: object
) -> None:
    with pytest.raises(msgspec.DecodeError):
        subject.decode(msgspec.msgpack.encode(said))


@pytest.mark.parametrize(
    "question",
    [it for it in SUBJECTS.values() if isinstance(it, Question)],
    ids=lambda it: it.pattern,
)
def test_an_answer_of_a_kind_that_this_version_does_not_know_is_malformed(
    question: Question[Any, Any],
) -> None:
    with pytest.raises(msgspec.DecodeError):
        question.decode_answer(msgspec.msgpack.encode({"type": "postponed", "until": 1}))
