"""Whether guessing pays, on machines of which it is known."""

import random

import pytest

from services.runner.engine.drafting.worth import (
    FIRST_REST,
    GUESSING_S,
    MOST_AHEAD,
    PLAIN_AGAIN,
    PLAIN_STEPS,
    TRIAL,
    Measured,
)


class Machine:
    """Takes so long for a plain step, a guess, and each token more that a pass checks."""

    def __init__(self, plain_s: float, guess_s: float, more_s: float, chance: float) -> None:
        self.plain_s, self.guess_s, self.more_s, self.chance = plain_s, guess_s, more_s, chance
        self.worth = Measured()
        self.seconds, self.tokens, self.passes = 0.0, 0, 0
        self._random = random.Random(1)

    def step(self) -> int:
        """Tokens that were guessed."""
        ahead = self.worth.ahead
        if not ahead:
            self.worth.learn_plain(self._jitter(self.plain_s))
            self.seconds, self.tokens = self.seconds + self.plain_s, self.tokens + 1
            return 0
        accepted = 0
        while accepted < ahead and self._random.random() < self.chance:
            accepted += 1
        draft_s = ahead * self.guess_s
        all_s = self._jitter(draft_s + self.plain_s + ahead * self.more_s)
        self.worth.learn_pass(ahead, accepted, draft_s, all_s)
        self.seconds, self.tokens = self.seconds + all_s, self.tokens + accepted + 1
        self.passes += 1
        return ahead

    def run(self, tokens: int) -> float:
        """How much faster than plain decoding."""
        self.seconds, self.tokens, self.passes = 0.0, 0, 0
        while self.tokens < tokens:
            self.step()
        return self.tokens * self.plain_s / self.seconds

    def _jitter(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.9, 1.1)


def test_plain_steps_are_measured_before_the_first_guess() -> None:
    machine = Machine(0.030, 0.003, 0.001, 0.8)
    assert [machine.step() for _ in range(PLAIN_STEPS)] == [0] * PLAIN_STEPS
    assert machine.step() > 0


def test_a_good_draft_on_a_gpu_is_used_and_how_much_it_gains_is_known() -> None:
    machine = Machine(0.030, 0.002, 0.0005, 0.8)
    gain = machine.run(4000)
    assert gain > 1.8
    assert machine.worth.speedup == pytest.approx(gain, rel=0.3)
    assert machine.worth.acceptance == pytest.approx(0.8, abs=0.2)


@pytest.mark.parametrize(
    ("guess_s", "more_s", "chance"),
    [(0.002, 0.0005, 0.02), (0.025, 0.001, 0.8), (0.003, 0.030, 0.8)],
    ids=["hardly a guess is right", "a guess costs a step", "a check costs as many steps"],
)
def test_what_does_not_pay_costs_next_to_nothing(
    guess_s: float, more_s: float, chance: float
) -> None:
    machine = Machine(0.030, guess_s, more_s, chance)
    machine.run(1000)
    assert machine.run(20_000) > 0.985
    assert machine.passes <= 12 * TRIAL


def test_it_is_tried_again_and_stays_on_where_texts_are_guessed_better_by_then() -> None:
    machine = Machine(0.030, 0.002, 0.0005, 0.02)
    machine.run(300)
    assert machine.worth.ahead == 0
    machine.chance = 0.85
    machine.run(4 * FIRST_REST)
    assert machine.run(2000) > 1.8


def test_the_better_the_guesses_the_more_of_them() -> None:
    found = []
    for chance in (0.5, 0.75, 0.95):
        machine = Machine(0.030, 0.003, 0.001, chance)
        machine.run(3000)
        found.append(max(machine.step() for _ in range(50)))
    assert found[0] < found[1] <= found[2] <= MOST_AHEAD
    assert found[0] <= 4


def test_guesses_that_are_slow_are_few_however_many_come_true() -> None:
    machine = Machine(0.900, 0.200, 0.001, 0.99)
    made = [machine.step() for _ in range(200)]

    assert made[PLAIN_STEPS] == 1
    assert max(made) == int(GUESSING_S / 0.200)


def test_plain_steps_are_measured_again_now_and_then() -> None:
    machine = Machine(0.030, 0.002, 0.0005, 0.8)
    machine.run(PLAIN_STEPS + 10)
    made = [machine.step() for _ in range(3 * PLAIN_AGAIN)]
    assert 4 <= made.count(0) <= 12
    # The machine has other work from now on: a GPU that is shared checks no faster than it steps.
    machine.more_s = 0.035
    machine.run(2000)
    assert machine.worth.ahead == 0


def test_a_lap_that_tells_nothing_teaches_nothing() -> None:
    worth = Measured()
    for _ in range(50):
        worth.learn_plain(None)
    assert worth.ahead == 0
