"""Text out of the JSON that a model writes around it, as it comes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.dialects.responses.freeform import Freeform, wrapped


def told(*pieces: str) -> list[str]:
    freeform = Freeform()
    out = [freeform.add(piece) for piece in pieces] + [freeform.end()]
    assert "".join(out) == freeform.text
    return [text for text in out if text]


@given(st.text(), st.booleans(), st.lists(st.integers(1, 5)))
def test_however_the_pieces_fall_the_text_is_the_same(text: str, is_ascii: bool, cuts: list[int]):
    arguments = json.dumps({"input": text}, ensure_ascii=is_ascii)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(arguments[at : at + cut])
        at += cut

    assert "".join(told(*pieces, arguments[at:])) == text


def test_what_is_clear_is_told_at_once():
    assert told('{"input": "a', "b\\", "nc\\ud83d", '\\ude00"', "}") == ["a", "b", "\nc", "😀"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"patch": "a\\nb"}', "a\nb"),
        ('{"input": 3}', '{"input": 3}'),
        ("*** Begin", "*** Begin"),
        ('{"input": "cut \\', "cut "),
        ('{"input": "\\ud83d alone"}', "? alone"),
        ('{"input": "not \\d JSON"}', "not \\d JSON"),
        ("", ""),
    ],
)
def test_a_model_that_keeps_to_no_form_loses_no_words(arguments: str, text: str):
    assert "".join(told(arguments)) == text


@given(st.text())
def test_what_was_told_goes_back_as_the_model_wrote_it(text: str):
    assert "".join(told(wrapped(text))) == text
