"""The decision itself. No bus, no clock: all it weighs is handed in."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from proto.ids import EngineId, SessionId
from proto.inference import Candidate, Schedule
from proto.presence import EngineBeat

SESSION_HOME = 0.5
"""How much fuller, in whole batches, an engine may be and still keep its sessions."""


def rank(
    question: Schedule, holders: Iterable[EngineBeat], sent: Mapping[EngineId, int]
) -> tuple[Candidate, ...]:
    """Engines that have the model, the one expected to answer soonest first.

    An engine that already read the whole conversation so far may be busier by
    one full batch and still comes first, since reading it again costs more than
    a short wait; a partial match counts for its part. A session no engine knows
    yet has a home that every scheduler computes alike. ``sent`` is what was
    routed to an engine since its last heartbeat. Engines to avoid come last;
    ties go to the first id, to keep tests and replays the same.
    """
    beats = list(holders)
    home = _home(question.session, beats)

    def cost(beat: EngineBeat) -> tuple[bool, float, EngineId]:
        busy = beat.running + beat.queued + sent.get(beat.engine, 0)
        load = busy / max(beat.slots, 1)
        known = _known_part(question.prefix, beat.served_prefixes)
        at_home = SESSION_HOME if not known and beat.engine == home else 0.0
        return beat.engine in question.avoid, load - known - at_home, beat.engine

    return tuple(Candidate(engine=b.engine, boot=b.boot) for b in sorted(beats, key=cost))


def _known_part(asked: tuple[bytes, ...], served: tuple[bytes, ...]) -> float:
    """The part of the conversation's prefix chain that the engine served before, 0 to 1."""
    known = set(served)
    for depth in range(len(asked), 0, -1):
        if asked[depth - 1] in known:
            return depth / len(asked)
    return 0.0


def _home(session: SessionId | None, beats: list[EngineBeat]) -> EngineId | None:
    """Rendezvous hashing: the session moves only if its home goes away."""
    if session is None or not beats:
        return None

    def weight(engine: EngineId) -> bytes:
        return blake2b(f"{engine}/{session}".encode(), digest_size=8).digest()

    return max((beat.engine for beat in beats), key=weight)
