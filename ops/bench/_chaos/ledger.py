"""What became of every attempt, and what of it a fault explains."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Cost = Literal["gateway lost", "gateway stopped", "refused", "upstream lost", "key revoked"]
"""What the contract lets a fault cost a client, who then asks again: the connection to a gateway
that died; an answer that a gateway which was told to stop could not finish in its grace, and said
so; a 429 or 503 with Retry-After before anything was said; an answer of a server that is not ours.
An answer whose key was revoked is not asked for again.
"""
Flaw = Literal["lost", "duplicated", "wrong"]
Kind = Cost | Flaw | Literal["whole", "left", "failed"]
AFTERMATH_S = 3.0
"""What ends so soon after the mesh is whole again may still be due to the fault."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One attempt at one exchange. Times are monotonic."""

    kind: Kind
    exchange: str
    request: str
    began: float
    ended: float
    first_s: float | None = None
    """To the first piece of a stream; None: there was none."""
    stall_s: float = 0.0
    """The longest silence between two pieces."""
    tokens: int = 0
    """Pieces that came, or were lost or came twice."""
    what: str = ""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A fault as it came."""

    fault: str
    target: str
    costs: frozenset[Cost]
    began: float
    mended: float
    """When nothing was held broken any more."""
    whole: float
    """When the mesh was whole again."""
    trouble: str = ""
    """Why it did not become whole in time, or could not be broken."""

    def covers(self, outcome: Outcome) -> bool:
        return outcome.began <= self.whole + AFTERMATH_S and outcome.ended >= self.began

    @property
    def recovery_s(self) -> float:
        return self.whole - self.mended


class Ledger:
    """All attempts."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def counts(self) -> Counter[str]:
        return Counter(outcome.kind for outcome in self.outcomes)

    def tokens(self, kind: Kind) -> int:
        return sum(outcome.tokens for outcome in self.outcomes if outcome.kind == kind)

    def unexplained(self, hits: Iterable[Hit]) -> list[Outcome]:
        """What neither went well nor is a cost of a fault of that time."""
        hits = list(hits)
        return [
            outcome
            for outcome in self.outcomes
            if outcome.kind not in ("whole", "left")
            and not any(outcome.kind in hit.costs and hit.covers(outcome) for hit in hits)
        ]
