"""Who asks, by what the request shows and the operator decided."""

import hashlib

import pytest
from msgspec.structs import replace

from proto.config import Config, KeyConfig, PrivacyConfig
from proto.errors import MeshError
from proto.generation import Privacy
from services.gateway.keys.caller import claim_of, known_caller, shown_key, stranger
from services.gateway.keys.ring import KeyRing

SECRET = b"sk-secret"
MARKED = hashlib.sha256(SECRET).hexdigest()[:12]
CI = KeyConfig(
    sha256=hashlib.sha256(SECRET).hexdigest(), weight=3.0, priority="batch", tokens_per_minute=900
)
CONFIG = Config(keys={"ci": CI}, others=KeyConfig(weight=2.0))
LIMITED = Config(keys={"ci": CI}, others=KeyConfig(requests_per_minute=10))


def caller_of(headers, config, network="192.0.2.7"):
    ring = KeyRing(lambda: config, lambda _: None)
    ring.look()
    shown = shown_key(headers)
    known = ring.find(shown)
    return (
        known_caller(known.key, known.settings, ring.config)
        if known
        else stranger(shown, network, config)
    )


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer sk-secret"},
        {b"authorization": b"bearer  sk-secret "},
        {b"x-api-key": SECRET},
        {b"authorization": b"Basic dTpw", b"x-api-key": SECRET},
    ],
)
def test_a_key_is_known_by_its_hash_however_it_is_shown(headers):
    caller = caller_of(headers, CONFIG)

    assert (caller.key, caller.weight, caller.best) == ("ci", 3.0, "batch")
    assert (caller.requests_per_minute, caller.tokens_per_minute) == (None, 900)


def test_an_unknown_key_is_called_by_a_mark_that_does_not_give_it_away():
    caller = caller_of({b"authorization": b"Bearer stranger"}, CONFIG)

    assert caller.key == "key-" + hashlib.sha256(b"stranger").hexdigest()[:12]
    assert (caller.weight, caller.requests_per_minute) == (2.0, None)
    assert caller_of({b"x-api-key": b"another"}, CONFIG).key != caller.key


def test_strangers_with_a_limit_are_told_apart_by_where_they_are_and_not_by_what_they_make_up():
    one, other = ({b"x-api-key": name} for name in (b"one", b"other"))
    first = caller_of(one, LIMITED)

    assert first.requests_per_minute == 10
    assert "192.0.2.7" not in first.key
    assert caller_of(other, LIMITED).key == caller_of({}, LIMITED).key == first.key
    assert caller_of(one, LIMITED, "192.0.2.8").key != first.key
    assert caller_of(other, LIMITED).owner != first.owner


def test_who_shows_no_key_is_everybody_who_shows_none():
    assert caller_of({}, CONFIG).key == caller_of({b"x-api-key": b""}, CONFIG).key == "anonymous"


@pytest.mark.parametrize(
    ("header", "body", "key", "comes_to"),
    [
        (None, "interactive", b"", "interactive"),
        (None, "batch", b"", "batch"),
        (b"batch", "interactive", b"", "batch"),
        (b" Interactive", "batch", b"", "interactive"),
        (b"interactive", "interactive", SECRET, "batch"),
    ],
)
def test_the_header_says_how_urgent_it_is_and_the_key_how_urgent_it_may_be(
    header, body, key, comes_to
):
    headers = {b"x-api-key": key} | ({b"x-odyssai-priority": header} if header else {})

    assert claim_of(caller_of(headers, CONFIG), headers, body).priority == comes_to


def test_a_priority_that_there_is_not_is_refused():
    headers = {b"x-odyssai-priority": b"urgent"}
    with pytest.raises(MeshError, match="interactive or batch"):
        claim_of(caller_of(headers, CONFIG), headers, "interactive")


@pytest.mark.parametrize(
    ("config", "owner", "shares_system"),
    [
        (Config(), "", True),
        (CONFIG, "ci", True),
        (Config(keys={"ci": replace(CI, owner="ann")}), "ann", True),
        (replace(CONFIG, privacy=PrivacyConfig(prefixes="all")), "", True),
        (replace(CONFIG, privacy=PrivacyConfig(prefixes="owner")), "ci", False),
        (Config(privacy=PrivacyConfig(prefixes="system")), "key-" + MARKED, True),
    ],
)
def test_whose_cached_prompts_a_key_finds(config, owner, shares_system):
    caller = caller_of({b"x-api-key": SECRET}, config)

    assert caller.privacy == Privacy(owner=owner, shares_system=shares_system)
    assert claim_of(caller, {}, "interactive").privacy == caller.privacy
