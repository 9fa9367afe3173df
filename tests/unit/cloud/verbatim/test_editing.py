"""Only what is to change changes, whatever else a client says and however it writes it."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.cloud.verbatim.editing import edited, value_of

WORDS = st.text(max_size=8) | st.sampled_from(["model", '"', "\\", "{", '"model":', "☃"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")])


@settings(max_examples=150, deadline=None)
@given(
    fields=st.dictionaries(WORDS.filter(lambda name: name != "model"), VALUES, max_size=4),
    at=st.integers(0, 4),
    model=VALUES,
    spaces=SPACES,
    is_plain=st.booleans(),
)
def test_another_model_is_all_that_differs(
    fields: dict[str, Any], at: int, model: Any, spaces: tuple[str, str], is_plain: bool
) -> None:
    def written(value: Any) -> bytes:
        entries = [*fields.items()]
        entries.insert(at, ("model", value))
        text = json.dumps(dict(entries), separators=spaces, ensure_ascii=is_plain)
        return text.encode("utf-8", "surrogatepass")

    assert edited(written(model), {"model": b'"other"'}) == written("other")
    assert json.loads(value_of(written("other"), "model")) == "other"


def test_a_name_is_known_however_it_is_written_and_wherever_it_stands_twice() -> None:
    body = b'{"mod\\u0065l": "a", "x": {"model": "b"}, "model" : "c" }'

    assert edited(body, {"model": b"1"}) == b'{"mod\\u0065l": 1, "x": {"model": "b"}, "model" : 1 }'
    assert value_of(body, "model") == b'"c"'


def test_what_is_not_there_comes_first() -> None:
    assert edited(b' { "a":1}', {"b": b"2"}) == b' {"b":2, "a":1}'
    assert edited(b"{ }", {"b": b"2"}) == b'{"b":2 }'
    assert value_of(b"{}", "b") == b""
