"""What a run comes to: figures, verdicts, and the whole of it as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, get_args

from ops.bench._chaos.ledger import Cost, Hit, Ledger, Outcome
from ops.bench._chaos.vitals import LIMITS, Life
from ops.bench._report import Report

SHOWN = 20
"""Of what is unexplained; the JSON has all."""
SLOWEST = 5
"""That were whole all the same: shown."""


@dataclass(frozen=True)
class Story:
    seed: int
    schedule: list[str]
    began: float
    span_s: float
    ledger: Ledger
    hits: list[Hit]
    lives: list[Life]
    resumed: int
    """How often another engine went on with an answer, by the gateways' own word."""
    telling: list[Life]
    """Of them, those that were long enough to say whether they grow."""

    def unexplained(self) -> list[Outcome]:
        return self.ledger.unexplained(self.hits)

    def tell(self, report: Report) -> None:
        ledger, counts = self.ledger, self.ledger.counts()
        unexplained = self.unexplained()
        report.add("attempts", len(ledger.outcomes), "requests")
        report.add("whole and right", counts["whole"], "requests", at_least=1)
        report.add("tokens checked", ledger.tokens("whole"), "tokens")
        report.add("rate", ledger.tokens("whole") / self.span_s, "tokens/s")
        report.add("resumed", self.resumed, "times")
        for kind in ("left", *get_args(Cost)):
            report.add(kind, counts[kind], "requests")
        report.add("lost", ledger.tokens("lost"), "tokens", at_most=0)
        report.add("duplicated", ledger.tokens("duplicated"), "tokens", at_most=0)
        report.add("wrong", counts["wrong"], "requests", at_most=0)
        report.add("unexplained failures", len(unexplained), "requests", at_most=0)
        report.add("faults", len(self.hits), "")
        report.add("not recovered", sum(bool(h.trouble) for h in self.hits), "faults", at_most=0)
        self._tell_growth(report)
        report.notes += [self._fault_line(name) for name in sorted({h.fault for h in self.hits})]
        report.notes += [f"slow {self._outcome_line(each)}" for each in self.slowest()]
        report.notes += [f"UNEXPLAINED {self._outcome_line(each)}" for each in unexplained[:SHOWN]]
        report.notes += [f"NOT RECOVERED {h.fault} {h.target}: {h.trouble}" for h in self._failed()]

    def slowest(self) -> list[Outcome]:
        whole = [outcome for outcome in self.ledger.outcomes if outcome.kind == "whole"]
        return sorted(whole, key=lambda outcome: outcome.began - outcome.ended)[:SLOWEST]

    def _failed(self) -> Iterable[Hit]:
        return (hit for hit in self.hits if hit.trouble)

    def _tell_growth(self, report: Report) -> None:
        for limit in LIMITS:
            for life in self.telling:
                name = f"{life.name} ({life.pid}): {limit.name}"
                report.add(name, life.growth(limit), limit.unit, at_most=limit.most)

    def _fault_line(self, name: str) -> str:
        figures = self.of_fault(name)
        told = [f"{name}: {figures['hits']}×"]
        for what in ("recovery_s", "first_s", "stall_s"):
            p50, most = figures[what]["p50"], figures[what]["max"]
            told.append(f"{what.removesuffix('_s')} p50 {p50:.2f} s, max {most:.2f} s")
        return "; ".join(told)

    def of_fault(self, name: str) -> dict[str, Any]:
        """Recoveries, and what clients noticed of them: first tokens, and longest silences."""
        hits = [hit for hit in self.hits if hit.fault == name]
        touched = [o for o in self.ledger.outcomes if any(hit.covers(o) for hit in hits)]
        begun = [o for o in touched if any(h.began <= o.began <= h.whole for h in hits)]
        firsts = [o.first_s for o in begun if o.first_s is not None]
        stalls = [o.stall_s for o in touched if o.kind == "whole"]
        return {
            "hits": len(hits),
            "recovery_s": _spread([hit.recovery_s for hit in hits]),
            "first_s": _spread(firsts),
            "stall_s": _spread(stalls),
        }

    def _outcome_line(self, outcome: Outcome) -> str:
        beside = [h for h in self.hits if h.covers(outcome)]
        during = ", ".join(f"{h.fault} {h.target} at {h.began - self.began:.1f} s" for h in beside)
        return (
            f"{outcome.kind} at {outcome.began - self.began:.1f} to "
            f"{outcome.ended - self.began:.1f} s, {outcome.exchange}, request "
            f"{outcome.request or '?'}: {outcome.what} (during: {during or 'nothing'})"
        )

    def as_json(self, report: Report) -> dict[str, Any]:
        return {
            **report.as_json(),
            "seed": self.seed,
            "schedule": self.schedule,
            "counts": dict(self.ledger.counts()),
            "faults": {h.fault: self.of_fault(h.fault) for h in self.hits},
            "hits": [self._hit(hit) for hit in self.hits],
            "slowest": [asdict(outcome) for outcome in self.slowest()],
            "unexplained": [asdict(outcome) for outcome in self.unexplained()],
            "seconds": self._seconds(),
            "processes": [life.as_json() for life in self.lives],
        }

    def _hit(self, hit: Hit) -> dict[str, Any]:
        times = {name: round(getattr(hit, name) - self.began, 2) for name in _TIMES}
        return {"fault": hit.fault, "target": hit.target, "trouble": hit.trouble, **times}

    def _seconds(self) -> dict[str, list[int]]:
        """Requests that ended, and their tokens, second by second."""
        requests, tokens = ([0] * (int(self.span_s) + 1) for _ in range(2))
        for outcome in self.ledger.outcomes:
            at = min(len(requests) - 1, max(0, int(outcome.ended - self.began)))
            requests[at] += 1
            tokens[at] += outcome.tokens if outcome.kind in ("whole", "left") else 0
        return {"requests": requests, "tokens": tokens}


_TIMES = ("began", "mended", "whole")


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "max": 0.0}
    return {"p50": round(median(values), 3), "max": round(max(values), 3)}
