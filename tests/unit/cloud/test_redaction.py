"""Upstreams repeat keys in what they say; nobody here does."""

import pytest

from proto.errors import Code, MeshError
from services.cloud.redaction import redacted, take_keys_out

KEY = "abcDEF0123456789"


@pytest.mark.parametrize(
    "said",
    [
        f"Incorrect API key provided: {KEY}.",
        f"header 'Authorization: Bearer {KEY}' is malformed",
        f"{KEY}{KEY}",
    ],
)
def test_a_key_of_ours_is_taken_out_wherever_it_stands(said):
    assert KEY not in redacted(said, [KEY])


@pytest.mark.parametrize(
    "said",
    ["sk-proj-abcd1234efgh", "sk-ant-api03-xyz_123", "sk-abcd****wxyz", "gsk_0a1b2c3d4e"],
)
def test_what_looks_like_a_key_is_taken_out_as_well(said):
    assert redacted(f"Bad key {said}, sorry.", []) == "Bad key (a key), sorry."


def test_all_else_stays_as_it_was_said():
    said = "The task-force asked for gpt-5 at 0.7; sk-1 is short, 'k' is shorter."

    assert redacted(said, ["k"]) == said


def test_an_error_keeps_all_but_the_key():
    error = MeshError(Code.UPSTREAM, f"no {KEY}", param="model", retry_after_s=2.0)

    take_keys_out(error, [KEY])

    assert (str(error), error.message) == ("no (a key)", "no (a key)")
    assert (error.code, error.param, error.retry_after_s) == (Code.UPSTREAM, "model", 2.0)
