"""The checker finds what is lost, doubled or wrong, and nothing in an answer that is right."""

import pytest

from ops.bench._chaos.answer import Answer
from ops.bench._chaos.checker import Checker, Deviation, Expected, Recorder

PIECES = [f"word{number} " for number in range(40)]


@pytest.fixture
def expected() -> Expected:
    recorder = Recorder()
    for piece in PIECES:
        recorder.hear("content", piece)
    return recorder.expected(answer("".join(PIECES)))


def answer(text: str, **more: object) -> Answer:
    usual = {"finish": "length", "prompt_tokens": 9, "completion_tokens": 40, "ends": 1}
    return Answer(said={"content": text}, logprobs=[("a", -0.5)], **(usual | more))  # type: ignore[arg-type]


def heard(expected: Expected, pieces: list[str], **more: object) -> Deviation | None:
    checker = Checker(expected)
    try:
        for piece in pieces:
            checker.hear("content", piece)
        checker.over(answer("".join(pieces), **more))
    except Deviation as deviation:
        return deviation
    return None


def test_the_same_text_in_other_pieces_is_right(expected: Expected) -> None:
    text = "".join(PIECES)

    assert heard(expected, PIECES) is None
    assert heard(expected, [text[:5], text[5:90], text[90:]]) is None


def test_a_gap_is_counted_in_tokens(expected: Expected) -> None:
    found = heard(expected, PIECES[:10] + PIECES[13:])

    assert found
    assert (found.flaw, found.tokens) == ("lost", 3)


def test_a_repetition_is_counted_in_tokens(expected: Expected) -> None:
    found = heard(expected, PIECES[:10] + PIECES[8:])

    assert found
    assert (found.flaw, found.tokens) == ("duplicated", 2)


def test_a_missing_end_is_lost(expected: Expected) -> None:
    found = heard(expected, PIECES[:-2])

    assert found
    assert (found.flaw, found.tokens) == ("lost", 2)


def test_text_from_nowhere_is_wrong(expected: Expected) -> None:
    found = heard(expected, [*PIECES[:10], "something else entirely", *PIECES[10:]])

    assert found
    assert found.flaw == "wrong"


@pytest.mark.parametrize(
    ("more", "flaw"),
    [
        ({"ends": 2}, "duplicated"),
        ({"completion_tokens": 41}, "wrong"),
        ({"prompt_tokens": 8}, "wrong"),
        ({"finish": "stop"}, "wrong"),
        ({"names": {"call 0": "f"}}, "wrong"),
    ],
)
def test_what_an_answer_comes_to_is_compared(
    expected: Expected, more: dict[str, object], flaw: str
) -> None:
    found = heard(expected, PIECES, **more)

    assert found
    assert found.flaw == flaw


def test_an_answer_that_breaks_off_has_to_be_right_so_far(expected: Expected) -> None:
    checker = Checker(expected)
    checker.hear("content", PIECES[0])
    checker.broken_off()

    checker.hear("content", PIECES[2][:3])
    checker.broken_off()
    checker.hear("content", "?")
    with pytest.raises(Deviation):
        checker.broken_off()
