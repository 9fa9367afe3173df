from itertools import pairwise

import pytest

from services.gateway.vectors.shares import LEAST_SHARE, MOST_CHARS, shares


def parts(sizes, engines=1, most_texts=10_000):
    found = list(shares(sizes, engines, most_texts))
    assert found[0].start == 0
    assert found[-1].stop == len(sizes)
    assert all(before.stop == after.start for before, after in pairwise(found))
    return [part.stop - part.start for part in found]


def test_what_fits_one_message_is_one_question():
    assert parts([10] * 2048) == [2048]
    assert parts([MOST_CHARS * 2]) == [1]


def test_vectors_that_fit_no_message_are_asked_for_in_parts():
    assert parts([10] * 2048, most_texts=1000) == [1000, 1000, 48]
    assert parts([10] * 3, most_texts=1) == [1, 1, 1]


def test_texts_that_fit_no_message_are_sent_in_parts():
    assert parts([MOST_CHARS // 2] * 5) == [2, 2, 1]
    assert parts([5, MOST_CHARS * 2, 5]) == [1, 1, 1]


@pytest.mark.parametrize(
    ("texts", "engines", "expected"),
    [
        (LEAST_SHARE, 4, [LEAST_SHARE]),
        (2 * LEAST_SHARE, 4, [LEAST_SHARE] * 2),
        (100 * LEAST_SHARE, 4, [25 * LEAST_SHARE] * 4),
        (1, 0, [1]),
    ],
)
def test_engines_share_what_is_enough_for_several(texts, engines, expected):
    assert parts([10] * texts, engines) == expected
