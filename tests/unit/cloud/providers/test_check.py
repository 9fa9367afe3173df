"""A provider is asked with each of its keys, and what is wrong is told with what to do."""

from collections.abc import Iterator
from typing import Any

import pytest

from services.cloud.providers.check import check
from services.cloud.settings import Upstream as Named
from tests.unit.cloud.upstream import Upstream

GOOD = "good-key-0123456789abcdef"
BAD = "bad-key-0123456789abcdefg"


@pytest.fixture
def server() -> Iterator[Upstream]:
    with Upstream.running() as server:
        server.accepted = {GOOD}
        yield server


def named(server: Upstream, *keys: str, **told: Any) -> Named:
    return Named(**{"name": "lab", "url": server.url, "keys": keys} | told)


async def test_each_key_is_tried_and_one_that_opens_is_enough(server: Upstream) -> None:
    found = await check(named(server, BAD, GOOD, models=("some-*",)))

    assert found.problem == ""
    assert (found.told > 10, found.served) == (True, 1)
    assert [(key.hint, bool(key.problem)) for key in found.keys] == [
        ("bad-ke…defg", True), ("good-k…cdef", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [((BAD,), "`odyssai provider key rotate lab`"), ((), "`odyssai provider key add lab`")],
)
async def test_a_key_that_opens_nothing_and_none_at_all_have_remedies(
    server: Upstream, keys: tuple[str, ...], remedy: str
) -> None:
    found = await check(named(server, *keys))

    assert remedy in found.problem
    assert (found.told, BAD in str(found)) == (0, False)


async def test_where_the_catalog_is_public_the_key_is_proven_elsewhere(server: Upstream) -> None:
    server.has_public_catalog = True

    assert "refuses" in (await check(named(server, BAD, kind="openrouter"))).problem
    assert (await check(named(server, GOOD, kind="openrouter"))).problem == ""


async def test_where_nobody_listens_that_is_said(server: Upstream) -> None:
    found = await check(named(server, GOOD, url="http://127.0.0.1:9/v1"))

    assert "could not be reached" in found.problem


async def test_a_key_that_cannot_be_opened_here_is_told_even_when_another_works(
    server: Upstream,
) -> None:
    found = await check(named(server, GOOD, locked="The key 'aux' cannot be used."))

    assert (found.problem, found.served > 10) == ("The key 'aux' cannot be used.", True)
