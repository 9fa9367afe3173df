"""What a pass costs: each token its part, and the pass itself as much as so many tokens more, for
it reads all weights.
"""

LEARNING = 0.1
"""Weight of the latest pass, once there were a few, in how passes of more and of fewer tokens
compare,"""
LATEST = 0.5
"""and in how fast the machine is just now."""
ALIKE = 0.1
"""Passes that differ by less than this part of their tokens tell nothing of that."""
LEAST = 0.25
"""Of its even part of a pass, a token costs at least so much: a pass that something else held up
must not make tokens look free."""
GROWTH = 4
"""Nothing is said of passes of more than so many times the tokens of those that were measured."""


class Cost:
    """Learned from passes of any size: a line by least squares, with weights that fade."""

    def __init__(self) -> None:
        self.own_tokens = 0.0
        """As many tokens as a pass costs before its first."""
        self._slowness = 1.0
        """Of late, beside the average."""
        self._passes = 0
        self._most = 0
        self._tokens = self._seconds = 0.0
        """On average, as the next two."""
        self._tokens_squared = self._tokens_seconds = 0.0

    @property
    def token_s(self) -> float:
        """Of each token. Only where a pass was measured."""
        return self._slowness * self._seconds / (self._tokens + self.own_tokens)

    @property
    def pass_s(self) -> float:
        """Of a pass before its first token."""
        return self.own_tokens * self.token_s

    def tokens(self, seconds: float) -> float:
        """What is read in one pass of so many seconds; negative where none takes so little."""
        return min(seconds / self.token_s - self.own_tokens, GROWTH * self._most)

    def learn(self, tokens: int, seconds: float) -> None:
        self._passes += 1
        self._most = max(self._most, tokens)
        weight = max(LEARNING, 1 / self._passes)
        self._tokens += weight * (tokens - self._tokens)
        self._seconds += weight * (seconds - self._seconds)
        self._tokens_squared += weight * (tokens * tokens - self._tokens_squared)
        self._tokens_seconds += weight * (tokens * seconds - self._tokens_seconds)
        self._compare()
        expected = self._seconds * (tokens + self.own_tokens) / (self._tokens + self.own_tokens)
        self._slowness += LATEST * (seconds / expected - self._slowness)

    def _compare(self) -> None:
        spread = self._tokens_squared - self._tokens * self._tokens
        if spread < (ALIKE * self._tokens) ** 2:
            return
        even_part = self._seconds / self._tokens
        slope = (self._tokens_seconds - self._tokens * self._seconds) / spread
        slope = min(max(slope, LEAST * even_part), even_part)
        self.own_tokens = self._seconds / slope - self._tokens
