"""Who is asked next: the fleet's heartbeats, and what was sent since they were said."""

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from bus.fleet import Fleet
from proto.ids import EngineId
from proto.placement import Candidate, Schedule
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
    """That it has to read."""
    digests: tuple[bytes, ...]
    """Of what it will leave in the cache."""


class Router:
    """Ranks the engines of a model, and remembers whom it named first.

    A burst of requests that begin alike thus goes to one engine before it has
    said a word of them, and a burst of unlike ones spreads. Other routers'
    decisions are known by the heartbeats alone. The clock is the fleet's.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[EngineId, _Engine] = {}

    def route(self, question: Schedule) -> tuple[Candidate, ...]:
        """Engines to try, the best first; none when no engine serves the model."""
        beats = self._fleet.reachable(question.model, local_only=question.local_only)
        if not beats:
            return ()
        now = self._fleet.now()
        known = {beat.engine: self._of(beat, now) for beat in beats}
        choices = rank(question, [engine.standing for engine in known.values()])
        known[choices[0].beat.engine].send(question, choices[0], now)
        return tuple(Candidate(engine=c.beat.engine, boot=c.beat.boot) for c in choices)

    def _of(self, beat: EngineBeat, now: float) -> "_Engine":
        known = self._known.get(beat.engine)
        if known is not None and known.standing.beat is beat:
            return known
        self._known.pop(beat.engine, None)
        if len(self._known) >= KNOWN:
            del self._known[next(iter(self._known))]
        if known is None or known.standing.beat.boot != beat.boot:
            known = _Engine(beat)
        else:
            known.hear(beat, now)
        self._known[beat.engine] = known
        return known


class _Engine:
    """One life of an engine: its latest heartbeat, and what was sent that it does not tell of."""

    def __init__(self, beat: EngineBeat) -> None:
        self.standing = Standing(beat)
        self._sent: deque[_Sent] = deque()
        self._until: dict[bytes, float] = {}
        """Of what is promised, the latest time at which it may still be."""

    def hear(self, beat: EngineBeat, now: float) -> None:
        while self._sent and self._sent[0].until <= now:
            self._forget(self._sent.popleft())
        recent = takewhile(lambda sent: sent.at >= now - SETTLING_S, reversed(self._sent))
        tokens = [sent.tokens for sent in recent]
        promised = self.standing.promised
        self.standing = Standing(beat, promised, len(tokens), sum(tokens))

    def send(self, question: Schedule, choice: Choice, now: float) -> None:
        until = now + choice.expected_s + PROMISE_S
        new = [each for each in question.prefix if each.chars > choice.known_chars]
        digests = tuple(prefix.digest for prefix in new)
        self._sent.append(_Sent(now, until, choice.unread_tokens, digests))
        self._until.update(dict.fromkeys(digests, until))
        # They end where their part of the prompt's characters does.
        tokens_per_char = choice.prompt_tokens / max(question.prefix[-1].chars, 1) if new else 0.0
        promised = {each.digest: int(tokens_per_char * each.chars) for each in new}
        self.standing.promised.update(promised)
        self.standing.sent += 1
        self.standing.sent_tokens += choice.unread_tokens
        if len(self._sent) > PROMISES:
            self._forget(self._sent.popleft())

    def _forget(self, sent: _Sent) -> None:
        for digest in sent.digests:
            if self._until.get(digest, 0.0) <= sent.until:
                self._until.pop(digest, None)
                self.standing.promised.pop(digest, None)
