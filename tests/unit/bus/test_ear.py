"""What silence proves, to one who may have been deaf meanwhile."""

import pytest

from bus.ear import MOMENT_S, STOOD_S, Ear
from proto.presence import SILENCE_S


class World:
    """A clock, and a link that works or does not."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.is_reached = True
        self.ear = Ear(lambda: self.is_reached, lambda: self.now_s)

    def go_on(self, seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            self.now_s += 0.1
            self.ear.look()


@pytest.fixture
def world() -> World:
    world = World()
    world.go_on(2 * SILENCE_S)
    return world


def test_who_hears_goes_by_the_clock(world: World) -> None:
    assert not world.ear.is_excused(SILENCE_S)
    assert world.ear.oldest(SILENCE_S) == pytest.approx(world.now_s - SILENCE_S)


def test_nobody_falls_silent_while_nobody_can_be_heard(world: World) -> None:
    alive_at, dead_at = world.now_s - 1.0, world.now_s - SILENCE_S - 0.2
    world.is_reached = False
    world.go_on(10.0)

    assert world.ear.is_deaf
    assert world.ear.is_excused(SILENCE_S)
    assert dead_at < world.ear.oldest(SILENCE_S) < alive_at


def test_everybody_has_time_to_be_heard_again_and_no_more(world: World) -> None:
    alive_at = world.now_s - 1.0
    world.is_reached = False
    world.go_on(10.0)
    world.is_reached = True

    world.go_on(SILENCE_S - 0.2)
    assert world.ear.oldest(SILENCE_S) < alive_at
    world.go_on(0.4)
    assert world.ear.oldest(SILENCE_S) == pytest.approx(world.now_s - SILENCE_S)


def test_a_link_that_breaks_again_at_once_buries_nobody(world: World) -> None:
    alive_at = world.now_s - 1.0
    for _ in range(3):
        world.is_reached = False
        world.go_on(3.0)
        world.is_reached = True
        world.go_on(1.0)

    assert world.ear.oldest(SILENCE_S) < alive_at


def test_a_process_that_stood_still_was_deaf_and_knows_for_how_long(world: World) -> None:
    alive_at = world.now_s - 1.0
    world.now_s += 60.0

    assert world.ear.stood_s == pytest.approx(60.0)
    assert world.ear.is_excused(SILENCE_S)
    assert world.ear.oldest(SILENCE_S) < alive_at
    world.go_on(2 * MOMENT_S)
    assert world.ear.stood_s == 0.0


def test_a_busy_moment_is_no_standstill(world: World) -> None:
    world.now_s += STOOD_S - 0.1

    assert world.ear.stood_s == 0.0
    assert not world.ear.is_excused(SILENCE_S)
