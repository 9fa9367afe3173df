"""Why a provider does not serve what it is asked for, and what to do about it."""

import pytest

from proto.errors import Code
from proto.presence import EngineBeat, ModelCard
from proto.refusing import MOST_NAMES, listing, not_served, takes

CARD = ModelCard(id="oa:gpt-5", context_length=0)


def beat(**told) -> EngineBeat:
    return EngineBeat(
        engine="cloud.oa-1", node="cloud", boot="b", pid=1, state="ready", provider="oa",
        **({"models": (CARD,)} | told),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"refuses": ("oa:gpt-9",)}, Code.MODEL_NOT_FOUND, "hides 'gpt-9'.*providers.oa.hides"),
        ({"accepts": ("oa:o*",)}, Code.MODEL_NOT_FOUND, "not among them.*providers.oa.models"),
        ({}, Code.MODEL_NOT_FOUND, "does not list.*lets it through.*providers.oa.models"),
        ({"models": (), "trouble": "It is shut."}, Code.UPSTREAM, "nothing now: It is shut. Try"),
        ({"models": ()}, Code.NO_ENGINE, "its models are not known yet. Try"),
    ],
)
def test_each_reason_is_told_with_its_remedy(told, code, words):
    with pytest.raises(Exception, match=words) as refused:
        raise not_served(beat(**told), "oa:gpt-9")
    assert refused.value.code is code


def test_what_is_hidden_is_not_taken_whatever_is_allowed():
    assert takes(beat(accepts=("oa:*",)), "oa:x")
    assert not takes(beat(accepts=("oa:*",), refuses=("oa:x",)), "oa:x")


def test_a_sentence_names_some_of_hundreds():
    assert listing([]) == "none yet"
    assert listing("ba") == "a, b"
    assert listing(map(str, range(MOST_NAMES + 5))).endswith(" and 5 more")
