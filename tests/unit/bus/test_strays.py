"""Who sends what nobody waits for is told so, now and then."""

import pytest

from bus.strays import EVERY_S, MOST, Strays
from tests.clock import Clock

STRAY = b"mesh.v1.stream.g.1.n.e1.r1"
FRAME = b"a frame"


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def told() -> list[tuple[str, str, bytes]]:
    return []


@pytest.fixture
def strays(told: list[tuple[str, str, bytes]], clock: Clock) -> Strays:
    return Strays(lambda *whom: told.append(whom), clock)


def test_the_sender_is_told_once_however_much_it_sends(strays, told):
    for _ in range(100):
        strays.heard(STRAY, FRAME)

    assert told == [("n.e1", "r1", FRAME)]


def test_who_goes_on_is_told_again_a_second_later(strays, told, clock):
    strays.heard(STRAY, FRAME)
    clock.now_s += EVERY_S
    strays.heard(STRAY, FRAME)

    assert told == [("n.e1", "r1", FRAME)] * 2


def test_requests_and_engines_are_told_apart(strays, told):
    strays.heard(STRAY, FRAME)
    strays.heard(b"mesh.v1.stream.g.1.n.e1.r2", FRAME)
    strays.heard(b"mesh.v1.stream.g.1.n.e2.r1", FRAME)

    assert told == [("n.e1", "r1", FRAME), ("n.e1", "r2", FRAME), ("n.e2", "r1", FRAME)]


def test_no_more_than_so_many_are_remembered(strays, told):
    for number in range(MOST + 1):
        strays.heard(f"mesh.v1.stream.g.1.n.e1.{number}".encode(), FRAME)
    strays.heard(b"mesh.v1.stream.g.1.n.e1.1", FRAME)
    strays.heard(b"mesh.v1.stream.g.1.n.e1.0", FRAME)

    assert [request for _, request, _ in told[MOST:]] == [f"{MOST}", "0"]
