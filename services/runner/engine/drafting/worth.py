"""Whether guessing pays, and how many tokens ahead. No clock: seconds are told by who measures."""

from typing import Protocol

MOST_AHEAD = 8
"""Tokens guessed before a pass: few guesses further ahead than that come true."""
GUESSING_S = 0.5
"""What the guesses before a pass may take together: cancels, arrivals and the step clock wait."""
PLAIN_STEPS = 8
"""Measured before the first guess, and"""
PLAIN_AGAIN, PLAIN_AGAIN_STEPS = 256, 4
"""after so many passes so many again: contexts grow, and machines have other work."""
SCHOOL, TRIAL = 6, 16
"""Passes that teach how many to guess, and after which those since are judged."""
FIRST_REST, LONGEST_REST = 256, 4096
"""Steps decoded plainly before it is tried again: twice as many after each failure. A trial with
all that the draft has to read for it costs about twenty steps where it fails."""
LEARNING, JUDGING = 0.1, 0.03
"""Weight of the latest pass in what is measured, and in whether it pays: guesses come true in runs,
so that a few passes tell little of that.
"""
HOPE = 0.7
"""Of the next guess to come true, before any was made."""


class Worth(Protocol):
    """One engine's."""

    acceptance: float
    """Of late, the part of guesses that came true of those that could be told."""
    speedup: float
    """Tokens a second against plain decoding, of late; 0: not measured yet."""

    @property
    def ahead(self) -> int:
        """Tokens to guess before the next pass; 0: decode plainly."""

    def learn_plain(self, seconds: float | None) -> None:
        """A step of one sequence; None: it took no time that tells anything."""

    def learn_pass(self, guessed: int, accepted: int, draft_s: float, all_s: float | None) -> None:
        """``draft_s`` of ``all_s`` went into the guesses."""


class Measured:
    """On where tokens come faster than without, by what was measured."""

    def __init__(self) -> None:
        self.acceptance = 0.0
        self.speedup = 0.0
        self._is_on = True
        self._owed_plain = PLAIN_STEPS
        """Steps of plain decoding that are to be measured."""
        self._plain_s = 0.0
        self._guess_s = 0.0
        """Of one guess."""
        self._check_s: dict[int, float] = {}
        """Of a pass that checks so many."""
        self._true = _Mean(HOPE, LEARNING)
        self._tokens, self._seconds = _Mean(0.0, JUDGING), _Mean(0.0, JUDGING)
        """Of a pass, guesses and all."""
        self._passes = 0
        """Since guessing was begun, or begun again."""
        self._rest, self._next_rest = 0, FIRST_REST

    @property
    def ahead(self) -> int:
        if not self._is_on or self._owed_plain:
            return 0
        return max(range(1, self._most + 1), key=self._rate)

    @property
    def _most(self) -> int:
        """One while nobody knows what a guess takes."""
        if not self._guess_s:
            return 1
        return max(1, min(MOST_AHEAD, int(GUESSING_S / self._guess_s)))

    def learn_plain(self, seconds: float | None) -> None:
        if seconds is not None:
            weight = LEARNING if self._plain_s else 1.0
            # Now and then one waits for something else; that must not look like what a step takes.
            seconds = min(seconds, 2 * self._plain_s) if self._plain_s else seconds
            self._plain_s += weight * (seconds - self._plain_s)
            self._owed_plain = max(0, self._owed_plain - 1)
        if not self._is_on:
            self._rest -= 1
            if self._rest <= 0:
                self._try_again()

    def learn_pass(self, guessed: int, accepted: int, draft_s: float, all_s: float | None) -> None:
        for was_true in [True] * accepted + [False] * (accepted < guessed):
            self._true.learn(float(was_true))
        self.acceptance = round(self._true.value, 3)
        if all_s is None:
            return
        self._guess_s = _nearer(self._guess_s, draft_s / guessed)
        self._check_s[guessed] = _nearer(self._check_s.get(guessed, 0.0), all_s - draft_s)
        self._passes += 1
        if self._passes > SCHOOL:
            self._tokens.learn(accepted + 1)
            self._seconds.learn(all_s)
            self._judge()

    def _judge(self) -> None:
        rate = self._tokens.value / max(self._seconds.value, 1e-9)
        self.speedup = round(rate * self._plain_s, 3)
        if self._passes < TRIAL:
            return
        if self.speedup < 1:
            self._is_on = False
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST_REST)
        elif self._passes % PLAIN_AGAIN == 0:
            self._owed_plain, self._next_rest = PLAIN_AGAIN_STEPS, FIRST_REST

    def _try_again(self) -> None:
        """Other texts are guessed better or worse: what the last ones taught is forgotten."""
        self._is_on, self._passes = True, 0
        self._true = _Mean(HOPE, LEARNING)
        self._tokens, self._seconds = _Mean(0.0, JUDGING), _Mean(0.0, JUDGING)

    def _rate(self, ahead: int) -> float:
        """Tokens a second to be expected."""
        true = self._true.value
        tokens = sum(true**place for place in range(ahead + 1))
        return tokens / max(ahead * self._guess_s + self._checking(ahead), 1e-9)

    def _checking(self, ahead: int) -> float:
        """Where it was never measured, on the line from a plain step through the nearest that was:
        a GPU reads a handful of tokens about as fast as one, a CPU does not.
        """
        if not self._check_s:
            return self._plain_s
        nearest = min(self._check_s, key=lambda known: abs(known - ahead))
        more = max(0.0, self._check_s[nearest] - self._plain_s)
        return self._plain_s + more * ahead / nearest


class _Mean:
    """Of the latest, more of them the more there were; before the first what was expected."""

    def __init__(self, expected: float, least: float) -> None:
        """``least``: the weight that the latest has at any time."""
        self.value = expected
        self._least = least
        self._count = 0

    def learn(self, value: float) -> None:
        self._count += 1
        weight = max(self._least, 1 / (self._count + 1)) if self.value else 1.0
        self.value += weight * (value - self.value)


def _nearer(known: float, seconds: float) -> float:
    return seconds if not known else known + LEARNING * (min(seconds, 2 * known) - known)
