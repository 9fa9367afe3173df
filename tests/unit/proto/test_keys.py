"""What a key looks like, what it may, and how its spending is counted."""

import re
from datetime import UTC, datetime

import pytest

from proto.config import Config, ConfigLayer, ConfigView, KeyConfig
from proto.keys import (
    Spending,
    account_of,
    current,
    fresh_key,
    hash_of,
    is_name,
    may_use,
    prefix_of,
    with_used,
    without_hashes,
)
from proto.setting_path import names_of

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400


def test_a_key_has_a_prefix_to_be_found_by_and_160_bits_that_nobody_knows() -> None:
    key, other = fresh_key(), fresh_key()
    found = re.fullmatch(r"odk_([a-z2-7]{8})_([a-z2-7]{32})", key.text)

    assert found is not None
    assert found[1] == key.prefix == prefix_of(key.text.encode())
    assert len(found[2]) * 5 == 160
    assert key.sha256 == hash_of(key.text.encode())
    assert key.text != other.text


@pytest.mark.parametrize("shown", [b"", b"sk-1", b"odk_short_x", b"odk_abcdefgh_" + b"A" * 32])
def test_what_the_mesh_did_not_make_has_no_prefix(shown: bytes) -> None:
    assert prefix_of(shown) is None


def test_a_name_is_a_word_that_stands_for_nobody_else() -> None:
    assert all(map(is_name, ("ci", "Anna-2", "a_b", "key-1")))
    assert not any(map(is_name, ("", "a.b", "a b", "-a", "a" * 65, "anonymous", "others", "local")))
    assert not is_name("key-0123456789ab")


def test_spending_is_kept_where_a_record_may_be_called_so() -> None:
    assert account_of("ci") == "ci"
    assert is_name(account_of("anna's laptop"))
    assert account_of("a b") != account_of("a c")


@pytest.mark.parametrize(
    ("patterns", "names", "may"),
    [
        (None, ("any",), True),
        ((), ("any",), False),
        (("org/*",), ("tiny", "org/tiny"), True),
        (("tiny",), ("tiny-2",), False),
        (("t[i]ny",), ("tiny",), False),
    ],
)
def test_a_key_may_use_what_one_of_its_patterns_means(patterns, names, may) -> None:  # type: ignore[no-untyped-def]
    assert may_use(patterns, *names) is may


def test_what_is_used_counts_for_its_day_its_month_and_in_all() -> None:
    spent = with_used(with_used(Spending(), "2026-11-26", 5, 50), "2026-11-26", 7, 70)
    assert (spent.in_day, spent.in_month, spent.in_all) == (12, 12, 12)
    tomorrow = with_used(spent, "2026-11-27", 1, 10)
    assert (tomorrow.in_day, tomorrow.in_month, tomorrow.in_all) == (1, 13, 13)
    usd = (tomorrow.nano_usd_in_day, tomorrow.nano_usd_in_month, tomorrow.nano_usd_in_all)
    assert usd == (10, 130, 130)
    december = current(tomorrow, NOON + 10 * DAY_S)
    assert (december.in_day, december.in_month, december.in_all) == (0, 0, 13)
    assert (december.nano_usd_in_month, december.nano_usd_in_all) == (0, 130)


def test_a_clock_that_is_behind_gives_nobody_a_day_twice() -> None:
    tomorrow = with_used(Spending(), "2026-11-27", 5, 0)

    assert with_used(tomorrow, "2026-11-26", 5, 0).in_day == 10


def test_hashes_are_taken_out_of_every_layer() -> None:
    config = Config(keys={"ci": KeyConfig(sha256=hash_of(b"x"), weight=2.0), "gone": None})
    layer = ConfigLayer(config=config)
    bare = without_hashes(ConfigView(effective=config, file=layer, admin=layer))

    assert bare.file is not None
    for each in (bare.effective, bare.file.config):
        assert each.keys == {"ci": KeyConfig(weight=2.0), "gone": None}


def test_settings_are_named_without_what_they_say() -> None:
    config = Config(aliases={"a": None}, keys={"ci": KeyConfig(sha256=hash_of(b"x"))})

    assert names_of(config) == ["aliases/a", "keys/ci/sha256"]
