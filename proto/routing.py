"""Which engine answers a request soonest. No bus, no clock: all that is weighed is handed in.

Schedulers decide by it, and gateways that have no scheduler.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from proto.ids import EngineId
from proto.placement import Schedule
from proto.presence import EngineBeat

CHARS_PER_TOKEN = 4.0
"""Of a prompt of which no engine knows any part."""
PREFILL_TOKENS_PER_S = 500.0
"""Of an engine that has not been measured, where none of the others has been, either."""
REQUEST_S = 5.0
"""How long a request runs where none has ended yet."""
SLOTS = 16
"""Of an engine that does not say how many it has: an upstream."""
CROWDED_S = 0.5
"""What a full batch costs a request that joins it: every token of all its answers comes later."""
SHARED_READING = 0.5
"""How much longer reading takes beside a full batch, which decodes between two chunks."""
AWAY_S = 0.05
"""What a prompt that nobody knows may come later by, to be read where others of its kind are."""


@dataclass(slots=True)
class Standing:
    """An engine as a decision weighs it."""

    beat: EngineBeat
    promised: dict[bytes, int] = field(default_factory=dict)
    """As the heartbeat's prefixes, of what was sent there and will be cached."""
    sent: int = 0
    """Requests that were sent there and that the heartbeat does not count yet."""
    sent_tokens: int = 0
    """Prompt tokens that they have to read."""


@dataclass(frozen=True, slots=True)
class Choice:
    beat: EngineBeat
    known_chars: int
    """Of the longest beginning of the prompt that the engine need not read."""
    prompt_tokens: int
    """Of all of the prompt, estimated."""
    unread_tokens: int
    """Of the prompt, that the engine would have to read."""
    expected_s: float
    """To its first token."""


@dataclass(slots=True)
class _Prompt:
    """What is asked, in tokens as far as they can be told."""

    tokens: float
    is_batch: bool
    tokens_per_s: float
    """Of an engine that has not been measured."""


def rank(question: Schedule, standings: Sequence[Standing]) -> list[Choice]:
    """The engine that is expected to give a first token soonest comes first.

    What it takes to get there: reading what of the prompt is not cached, and
    what shorter prompts are read before; a slot, if all are taken; room among
    the KV caches, if there is none; and some more beside a batch that decodes.
    A prompt that nobody knows has a home that every scheduler computes alike,
    by its session or else its beginning, so that conversations spread and what
    begins alike meets. Engines to avoid come last, and upstreams that
    are left alone; ties go to the first id, to keep tests and replays the same.
    """
    total_chars = question.prefix[-1].chars if question.prefix else question.prompt_bytes
    depths = {entry.digest: entry.chars for entry in question.prefix}
    hits = [_deepest(depths, standing) for standing in standings]
    ratio = _chars_per_token(hits)
    prompt = _Prompt(total_chars / ratio, question.priority == "batch", _fastest(standings))
    home = None if any(hits) else _home(question, standings)
    choices: list[tuple[bool, float, EngineId, Choice]] = []
    for standing, hit in zip(standings, hits, strict=True):
        beat = standing.beat
        unread = max(0.0, prompt.tokens - hit[0]) if hit else prompt.tokens
        expected_s = _expected_s(prompt, standing, unread)
        away_s = AWAY_S if home is not None and beat.engine != home else 0.0
        choice = Choice(beat, hit[1] if hit else 0, round(prompt.tokens), round(unread), expected_s)
        is_last = beat.engine in question.avoid or beat.circuit == "open"
        choices.append((is_last, expected_s + away_s, beat.engine, choice))
    choices.sort(key=lambda choice: choice[:3])
    return [choice for *_, choice in choices]


def _expected_s(prompt: _Prompt, standing: Standing, unread: float) -> float:
    beat, sent = standing.beat, standing.sent
    tokens_per_s = beat.prefill_tokens_per_s or prompt.tokens_per_s
    slots = beat.slots or SLOTS
    overtaken = 0 if prompt.is_batch else beat.batch_requests
    at_work = beat.running + beat.queued - overtaken + sent
    crowding = min(at_work / slots, 1.0)
    # The shortest remainder is read first, so a short prompt waits for no long one.
    ahead = min(beat.queued_tokens + standing.sent_tokens, (beat.unread + sent) * unread)
    reading_s = (unread + ahead) / tokens_per_s * (1 + SHARED_READING * crowding)
    return reading_s + CROWDED_S * crowding + _slot_s(beat, at_work) + _room_s(prompt, standing)


def _slot_s(beat: EngineBeat, at_work: int) -> float:
    """Until one of those at work makes place; nothing where slots are not told."""
    if not beat.slots or at_work < beat.slots:
        return 0.0
    return (beat.request_s or REQUEST_S) * (at_work - beat.slots + 1) / beat.slots


def _room_s(prompt: _Prompt, standing: Standing) -> float:
    """Until those who run have given back as many tokens of KV cache as the prompt lacks."""
    beat = standing.beat
    if not beat.kv_tokens:
        return 0.0
    used = beat.kv_used_tokens + standing.sent_tokens
    lacking = used + prompt.tokens - beat.kv_tokens
    if lacking <= 0:
        return 0.0
    return (beat.request_s or REQUEST_S) * lacking / max(used, 1)


_Hit = tuple[int, int] | None
"""Tokens of the longest known beginning, and its characters; None: nothing is known."""


def _deepest(depths: Mapping[bytes, int], standing: Standing) -> _Hit:
    cached, promised, asked = standing.beat.prefixes, standing.promised, depths.keys()
    common = asked & cached.keys() | asked & promised.keys()
    if not common:
        return None
    deepest = max(common, key=depths.__getitem__)
    return cached.get(deepest) or promised.get(deepest, 0), depths[deepest]


def _chars_per_token(hits: Sequence[_Hit]) -> float:
    """Of this prompt, as the engine counted that knows most of it."""
    tokens, chars = max((hit for hit in hits if hit), default=(0, 0))
    return chars / tokens if tokens and chars else CHARS_PER_TOKEN


def _fastest(standings: Sequence[Standing]) -> float:
    """An engine that was never measured is tried as if it were the best."""
    measured = max((s.beat.prefill_tokens_per_s for s in standings), default=0.0)
    return measured or PREFILL_TOKENS_PER_S


def _home(question: Schedule, standings: Sequence[Standing]) -> EngineId | None:
    """Rendezvous hashing: it moves only if the home goes away."""
    if question.session is not None:
        name = question.session.encode()
    elif question.prefix:
        name = question.prefix[0].digest
    else:
        return None

    def weight(engine: EngineId) -> bytes:
        return blake2b(engine.encode() + b"/" + name, digest_size=8).digest()

    return max((standing.beat.engine for standing in standings), key=weight, default=None)
