"""Which models of an upstream are listed, and which may be asked for."""

import pytest

from services.cloud.providers.access import accepts, is_listed, is_open, refuses
from services.cloud.settings import Upstream

CATALOG = {"gpt-5", "gpt-5-audio", "o3"}


def upstream(models=None, hides=()) -> Upstream:
    return Upstream(name="oa", url="http://x", models=models, hides=hides)


@pytest.mark.parametrize(
    ("models", "hides", "listed", "is_open_too"),
    [
        (None, (), {"gpt-5", "gpt-5-audio", "o3"}, set()),
        (None, ("*audio*",), {"gpt-5", "o3"}, set()),
        (("gpt-*",), (), {"gpt-5", "gpt-5-audio"}, {"gpt-9"}),
        (("gpt-*",), ("*audio*",), {"gpt-5"}, {"gpt-9"}),
        (("*",), ("gpt-5",), {"gpt-5-audio", "o3"}, {"gpt-9", "x"}),
        ((), (), set(), set()),
    ],
)
def test_patterns_allow_deny_and_reach_beyond_the_catalog(models, hides, listed, is_open_too):
    up = upstream(models, hides)
    asked = {*CATALOG, "gpt-9", "gpt-9-audio", "x"} - {"gpt-9-audio"}

    assert {id for id in CATALOG if is_listed(up, id)} == listed
    assert {id for id in asked if is_open(up, id, CATALOG)} == listed | is_open_too


def test_others_know_the_patterns_by_the_names_that_clients_say():
    up = upstream(("gpt-*",), ("*audio*",))

    assert (accepts(up), refuses(up)) == (("oa:gpt-*",), ("oa:*audio*",))
