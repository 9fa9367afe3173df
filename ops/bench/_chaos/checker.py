"""Whether an answer is the one that an undisturbed mesh gives, piece by piece while it arrives."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from ops.bench._chaos.answer import Answer
from ops.bench._chaos.ledger import Flaw

TOLERANCE = 2e-3
"""Of log-probabilities: batches of other sizes are summed in other orders."""
SAMPLE = 16
"""Characters by which a passage is recognised elsewhere in an answer."""


class Deviation(Exception):
    """An answer is not the one that it should be.

    ``tokens`` are missing, or there twice; one for what is plainly wrong.
    """

    def __init__(self, flaw: Flaw, tokens: int, what: str) -> None:
        super().__init__(f"{flaw}, {tokens} tokens: {what}")
        self.flaw: Flaw = flaw
        self.tokens = tokens


@dataclass(frozen=True)
class Expected:
    """What an undisturbed mesh answered."""

    answer: Answer
    pieces: dict[str, list[int]]
    """Where each piece ended that it came in, by channel, in characters."""


class Recorder:
    """Hears an undisturbed answer."""

    def __init__(self) -> None:
        self._lengths: dict[str, list[int]] = {}

    def hear(self, channel: str, piece: str) -> None:
        self._lengths.setdefault(channel, []).append(len(piece))

    def expected(self, answer: Answer) -> Expected:
        return Expected(answer, {c: list(accumulate(each)) for c, each in self._lengths.items()})


class Checker:
    """Hears an answer that may have been disturbed. Raises Deviation at a flaw."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._at: dict[str, int] = {}
        self._astray: tuple[str, str] | None = None
        """Channel and text since the answer left what it should be."""
        self.tokens = 0

    def hear(self, channel: str, piece: str) -> None:
        if self._astray is not None:
            self._go_astray(channel, piece)
            return
        should = self._expected.answer.said.get(channel, "")
        at = self._at.get(channel, 0)
        if not should.startswith(piece, at):
            self._go_astray(channel, piece)
            return
        self._at[channel] = at + len(piece)
        self.tokens += 1

    def _go_astray(self, channel: str, piece: str) -> None:
        """Enough is read for what comes to be recognised."""
        where, text = self._astray or (channel, "")
        self._astray = where, text + piece if channel == where else text
        if len(self._astray[1]) >= SAMPLE or channel != where:
            self.broken_off()

    def broken_off(self) -> None:
        """No more will come; what came has to be right. Raises Deviation."""
        if self._astray is not None:
            raise self._deviation(*self._astray)

    def over(self, answer: Answer) -> None:
        """The answer says that it is whole. Raises Deviation."""
        self.broken_off()
        should = self._expected.answer
        for channel, said in should.said.items():
            at = self._at.get(channel, 0)
            if at < len(said):
                tokens = self._tokens(channel, at, len(said))
                raise Deviation("lost", tokens, f"the end of {channel}: {said[at : at + 40]!r}")
        if answer.ends != 1:
            raise Deviation("duplicated", answer.ends - 1, "its end and usage")
        for name in ("names", "finish", "prompt_tokens", "completion_tokens"):
            ours, theirs = getattr(answer, name), getattr(should, name)
            if ours != theirs:
                raise Deviation("wrong", 1, f"{name} is {ours!r}, not {theirs!r}")
        self._compare_logprobs(answer)

    def _compare_logprobs(self, answer: Answer) -> None:
        should = self._expected.answer.logprobs
        if len(answer.logprobs) != len(should):
            missing = len(should) - len(answer.logprobs)
            flaw: Flaw = "lost" if missing > 0 else "duplicated"
            raise Deviation(flaw, abs(missing), "log-probabilities")
        for place, (ours, theirs) in enumerate(zip(answer.logprobs, should, strict=True)):
            if ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > TOLERANCE:
                raise Deviation("wrong", 1, f"logprob {place} is {ours}, not {theirs}")

    def _deviation(self, channel: str, text: str) -> Deviation:
        should, at = self._expected.answer.said.get(channel, ""), self._at.get(channel, 0)
        what = f"{channel} at {at}: {text[:40]!r} came, not {should[at : at + 40]!r}"
        sample = text[:SAMPLE]
        ahead = should.find(sample, at)
        before = should.rfind(sample, 0, at + len(sample) - 1)
        if ahead < 0 and before < 0:
            return Deviation("wrong", 1, what)
        if ahead >= 0 and (before < 0 or ahead - at <= at - before):
            return Deviation("lost", self._tokens(channel, at, ahead), what)
        return Deviation("duplicated", self._tokens(channel, before, at), what)

    def _tokens(self, channel: str, start: int, end: int) -> int:
        """Of a passage: the pieces that an undisturbed answer had there."""
        ends = self._expected.pieces.get(channel, [])
        return max(1, bisect_right(ends, end) - bisect_right(ends, start))
