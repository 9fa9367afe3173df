"""What a key may take in a minute, counted over all gateways."""

import pytest

from proto.errors import Code, MeshError
from proto.ids import GatewayId, KeyId
from proto.presence import GatewayBeat
from services.gateway.keys.caller import Caller
from services.gateway.keys.limits import Limits

CALLER = Caller(key=KeyId("ci"), requests_per_minute=3)
THRIFTY = Caller(key=KeyId("ci"), tokens_per_minute=100)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(clock):
    return Limits(GatewayId("g1"), clock)


def beat(other, id="g2"):
    return GatewayBeat(gateway=GatewayId(id), boot="b", pid=1, url="u", used=other.told())


def refused(limits, caller):
    with pytest.raises(MeshError) as refusal:
        limits.admit(caller)
    assert refusal.value.code is Code.RATE_LIMITED
    return refusal.value


def test_so_many_requests_and_no_more_until_the_first_is_a_minute_old(limits, clock):
    for _ in range(3):
        limits.admit(CALLER)
        clock.now += 10

    error = refused(limits, CALLER)
    assert error.retry_after_s == 30
    assert "3 of its 3 requests a minute" in error.message
    clock.now += 30
    limits.admit(CALLER)
    assert refused(limits, CALLER).retry_after_s == 10


def test_a_refused_request_does_not_count(limits, clock):
    for _ in range(3):
        limits.admit(CALLER)
    for _ in range(50):
        refused(limits, CALLER)
        clock.now += 1

    clock.now += 10
    limits.admit(CALLER)


def test_tokens_count_when_they_are_known(limits, clock):
    limits.admit(THRIFTY)
    limits.spend(THRIFTY.key, 60)
    clock.now += 20
    limits.admit(THRIFTY)
    limits.spend(THRIFTY.key, 60)

    assert refused(limits, THRIFTY).retry_after_s == 40
    left = limits.standing(THRIFTY).tokens
    assert (left.limit, left.used, left.remaining, left.reset_s) == (100, 120, 0, 60)


def test_what_other_gateways_served_counts_and_grows_old(limits, clock):
    other = Limits(GatewayId("g2"), clock)
    for _ in range(2):
        other.admit(CALLER)
    clock.now += 20
    limits.hear(beat(other))
    limits.hear(beat(other))

    limits.admit(CALLER)
    assert refused(limits, CALLER).retry_after_s == 40
    clock.now += 40
    limits.admit(CALLER)


def test_ones_own_heartbeat_is_no_news(limits):
    limits.admit(CALLER)
    limits.hear(beat(limits, "g1"))

    assert limits.standing(CALLER).requests.used == 1


def test_nothing_is_kept_of_keys_without_a_limit(limits):
    limits.admit(Caller(key=KeyId("free")))
    limits.spend(KeyId("free"), 5000)

    assert limits.told() == ()


def test_a_key_that_rests_is_forgotten(limits, clock):
    limits.admit(CALLER)
    assert [use.key for use in limits.told()] == ["ci"]
    clock.now += 60

    assert limits.told() == ()


def test_made_up_keys_do_not_make_heartbeats_grow(limits, clock):
    for number in range(400):
        clock.now += 0.1
        limits.admit(Caller(key=KeyId(f"key-{number}"), requests_per_minute=5))

    assert {use.key for use in limits.told()} >= {"key-399", "key-398"}
    assert len(limits.told()) == 256
