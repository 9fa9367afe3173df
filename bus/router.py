"""Who is asked next: the fleet's heartbeats, and what was sent since they were said."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bus.fleet import Fleet
from proto.ids import EngineId
from proto.inference import Candidate, Prefix, Schedule
from proto.presence import EngineBeat
from proto.routing import Choice, Standing, rank

SETTLING_S = 0.1
"""A heartbeat may not count what was sent so shortly before it was heard."""
PROMISE_S = 5.0
"""How long after its first token was expected a prompt is taken for cached: by then the engine
says so itself."""
PROMISES = 64
"""Latest prompts of one engine that are taken for cached before it says so."""
KNOWN = 4096
"""Engines remembered. Of more, those asked least of late are made anew from heartbeats."""


@dataclass(frozen=True, slots=True)
class _Sent:
    at: float
    until: float
    """When it is cached for certain, or lost."""
    tokens: int
    prefixes: tuple[tuple[bytes, int], ...]
    """With the tokens up to them."""


@dataclass(slots=True)
class _Known:
    standing: Standing
    sent: deque[_Sent] = field(default_factory=lambda: deque(maxlen=PROMISES))


class Router:
    """Ranks the engines of a model, and remembers whom it named first.

    A burst of requests that begin alike thus goes to one engine before it has
    said a word of them, and a burst of unlike ones spreads. Other routers'
    decisions are known by the heartbeats alone. The clock is handed in.
    """

    def __init__(self, fleet: Fleet, now: Callable[[], float] = time.monotonic) -> None:
        self._fleet = fleet
        self._now = now
        self._known: dict[EngineId, _Known] = {}

    def route(self, question: Schedule) -> tuple[Candidate, ...]:
        """Engines to try, the best first; none when no engine serves the model."""
        beats = self._fleet.holders(question.model)
        if not beats:
            return ()
        now = self._now()
        known = {beat.engine: self._of(beat, now) for beat in beats}
        choices = rank(question, [each.standing for each in known.values()])
        _remember(known[choices[0].beat.engine], question, choices[0], now)
        return tuple(Candidate(engine=c.beat.engine, boot=c.beat.boot) for c in choices)

    def _of(self, beat: EngineBeat, now: float) -> _Known:
        known = self._known.get(beat.engine)
        if known is not None and known.standing.beat is beat:
            return known
        self._known.pop(beat.engine, None)
        if len(self._known) >= KNOWN:
            del self._known[next(iter(self._known))]
        self._known[beat.engine] = anew = _anew(beat, known, now)
        return anew


def _anew(beat: EngineBeat, known: _Known | None, now: float) -> _Known:
    """By a new heartbeat, with what was sent and is not told of yet."""
    anew = _Known(Standing(beat, {prefix.digest: prefix.tokens for prefix in beat.prefixes}))
    if known is not None and known.standing.beat.boot == beat.boot:
        anew.sent.extend(sent for sent in known.sent if sent.until > now)
        for sent in anew.sent:
            _send(anew.standing, sent, is_counted=sent.at < now - SETTLING_S)
    return anew


def _remember(known: _Known, question: Schedule, choice: Choice, now: float) -> None:
    sent = _Sent(
        at=now,
        until=now + choice.expected_s + PROMISE_S,
        tokens=choice.unread_tokens,
        prefixes=_promised(question.prefix, choice.prompt_tokens),
    )
    known.sent.append(sent)
    _send(known.standing, sent, is_counted=False)


def _send(standing: Standing, sent: _Sent, *, is_counted: bool) -> None:
    for digest, tokens in sent.prefixes:
        standing.known.setdefault(digest, tokens)
    if not is_counted:
        standing.sent += 1
        standing.sent_tokens += sent.tokens


def _promised(prefix: Sequence[Prefix], tokens: int) -> tuple[tuple[bytes, int], ...]:
    """Where in a prompt of so many tokens its beginnings end, by their part of its characters."""
    chars = prefix[-1].chars if prefix else 0
    return tuple((p.digest, tokens * p.chars // chars) for p in prefix) if chars else ()
