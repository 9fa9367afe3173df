"""Continuous batching: who is admitted, what a step runs, and the frames that come of it.

A step reads at most one chunk of prompts, then decodes one token of every
running answer. Everything here belongs to the one thread that owns mlx.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Failed, PositionLogprobs, Progress
from proto.ids import RequestId
from proto.presence import CachedPrefix, CacheLoad
from services.runner.engine import logprobs, prefill, sampling
from services.runner.engine.answer.channels import Over
from services.runner.engine.constraints.masks import masked
from services.runner.engine.decoding import Decoder
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prefix_cache import prefix_cache
from services.runner.engine.sequence import Cache, Sequence

SLOTS = 64
PROGRESS_S = 0.5
"""With the longest chunk on top, a reader hears of a long prompt at least every second."""
PATIENCE, PATIENCE_S = 0.1, 0.010
"""Part of its prompt's time that a lone request may wait for others, and the most."""
LOOK_S = 60.0
"""A vision tower takes a picture in one piece, however large: seconds on a small machine."""
TELL_S = 0.5
"""How often heartbeats may learn of a change in the prefix cache while there is work."""
LEARNING = 0.2
"""Weight of the latest decode step in the measured step time."""

log = logging.getLogger(__name__)

Frames = list[tuple[RequestId, AnyFrame]]


class Batch:
    """One model's requests: ``slots`` of them at work, the others waiting in order of arrival."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        slots: int = SLOTS,
        cache_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` gives unix seconds, by which requests expire."""
        self._loaded = loaded
        self._slots = slots
        self._clock = clock
        self._ends = frozenset(loaded.tokenizer.eos_token_ids)
        self._prefixes = prefix_cache(loaded.model, cache_bytes)
        self._decoder = self._new_decoder()
        self._waiting: deque[Sequence] = deque()
        self._prefilling: list[Sequence] = []
        self._decoding: dict[int, Sequence] = {}
        """By the decoder's number."""
        self._frames: Frames = []
        self._pace = prefill.Pace()
        self._turn = 0
        self._decode_s = 0.0
        self._read_tokens = 0
        self._next_expiry = float("inf")
        self._has_news = False
        """The prefix cache changed since it was told of."""
        self._told_at = 0.0
        self.cached_prefixes: tuple[CachedPrefix, ...] = ()
        """What the prefix cache held a moment ago. Safe to read from any thread."""
        self.generated_tokens = 0
        self.excused_until = 0.0
        """Monotonic seconds until which a step may take long without being stuck."""

    @property
    def has_work(self) -> bool:
        return bool(self._decoding or self._prefilling or self._waiting or self._frames)

    @property
    def running(self) -> int:
        return len(self._decoding) + len(self._prefilling)

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def queued_tokens(self) -> int:
        """Prompt tokens not yet read. Safe to ask from any thread: it sums over copies."""
        return sum(s.remaining for s in [*list(self._waiting), *list(self._prefilling)])

    @property
    def unread(self) -> int:
        """Requests that have prompt tokens to be read."""
        return len(self._waiting) + len(self._prefilling)

    @property
    def prefill_tokens_per_s(self) -> float:
        return self._pace.tokens_per_s

    @property
    def patience_s(self) -> float:
        """How long the first to come may wait for company: little beside its own prompt."""
        cost_s = self._pace.cost_s(self.queued_tokens)
        return min(PATIENCE_S, PATIENCE * cost_s)

    @property
    def cache_load(self) -> CacheLoad:
        return self._prefixes.stats()

    def place_of(self, request: RequestId) -> int | None:
        """Requests ahead of it in the waiting queue; None once it is admitted, or unknown."""
        return next((i for i, s in enumerate(self._waiting) if s.request == request), None)

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        if sequence.expires_s is not None:
            self._next_expiry = min(self._next_expiry, sequence.expires_s)

    def cancel(self, request: RequestId) -> None:
        """Its slot is free at once; its reader hears of it with the next step's frames."""
        with mx.stream(self._decoder.stream):
            self._abandon(
                lambda s: s.request == request, Code.CANCELLED, "the request was cancelled"
            )

    def abandon_all(self, code: Code, message: str) -> None:
        with mx.stream(self._decoder.stream):
            self._abandon(lambda _: True, code, message)

    def close(self) -> None:
        """Gives back the memory limit that the generator set."""
        self._decoder.close()

    def warm(self) -> None:
        """A first pass of no request's, so that none waits for kernels and the pace is known."""
        with mx.stream(self._decoder.stream):
            for _ in range(2):
                blank = Sequence(RequestId("warm"), [0] * prefill.SMALLEST, 1)
                blank.cache = make_prompt_cache(self._loaded.model)
                self._timed_read([blank], prefill.SMALLEST)

    def step(self) -> Frames:
        """One chunk of prompts, one token of each answer; the frames in the order they arose."""
        with mx.stream(self._decoder.stream):
            self._expire()
            self._admit()
            # First tokens go out before the decode step that would be theirs alone.
            has_streams = bool(self._decoding)
            if self._prefilling:
                self._prefill()
            if has_streams:
                self._decode()
        self._tell()
        frames, self._frames = self._frames, []
        return frames

    def _tell(self) -> None:
        """Not at every step while there are steps: it looks at the whole cache."""
        now = time.monotonic()
        is_idle = not (self._decoding or self._prefilling)
        if self._has_news and (is_idle or now - self._told_at >= TELL_S):
            self.cached_prefixes = self._prefixes.told()
            self._told_at, self._has_news = now, False

    # Admission

    def _admit(self) -> None:
        while self._waiting and self.running < self._slots:
            sequence = self._waiting.popleft()
            sequence.admitted_at = time.monotonic()
            try:
                self._equip(sequence)
            except MeshError as refused:
                self._fail(sequence, refused.code, refused.message)
            else:
                self._match(sequence)
                self._prefilling.append(sequence)
                self._report(sequence, sequence.admitted_at)

    def _equip(self, sequence: Sequence) -> None:
        asked, vocab_size = sequence.sampling, self._loaded.vocab_size
        sampling.check(asked, vocab_size)
        sequence.sampler = sampling.sampler(asked, vocab_size)
        sequence.processors = sampling.processors(asked, len(sequence.prompt))
        before = sequence.prompt[-1]
        sequence.answer = sequence.outline.answer(self._loaded.pieces, before, sequence.stop)
        sequence.guide = sequence.outline.guide(self._loaded, before)

    def _match(self, sequence: Sequence) -> None:
        sequence.cached = sequence.done = self._prefixes.match(sequence.key(sequence.prompt))
        sequence.matched_at = self._prefixes.version

    def _report(self, sequence: Sequence, now: float) -> None:
        sequence.progress_at = now
        self._emit(
            sequence,
            [
                Progress(
                    sequence.epoch,
                    sequence.next_seq(),
                    sequence.done,
                    len(sequence.prompt),
                    sequence.cached,
                )
            ],
        )

    # Reading prompts

    def _prefill(self) -> None:
        for sequence in self._prefilling:
            if sequence.cache is None and sequence.matched_at != self._prefixes.version:
                self._match(sequence)
        seconds = prefill.share_s(len(self._prefilling), len(self._decoding), self._decode_s)
        group, budget = prefill.choose(
            self._prefilling, lambda context: self._pace.tokens(seconds, context), self._turn
        )
        self._turn += 1
        try:
            drawn = self._read(group, budget)
        except Exception:
            log.exception("reading the prompts of %s failed", [s.request for s in group])
            for sequence in group:
                self._prefilling.remove(sequence)
                self._fail(sequence, Code.INTERNAL, "the engine failed while reading the prompt")
        else:
            self._begin(drawn)
        now = time.monotonic()
        for sequence in self._prefilling:
            if now - sequence.progress_at >= PROGRESS_S:
                self._report(sequence, now)

    def _read(self, group: list[Sequence], budget: int) -> list[prefill.Drawn]:
        """First tokens if the chunk ends the group's prompts, which the prefix cache then knows."""
        for sequence in group:
            if sequence.cache is None:
                key = sequence.key(sequence.prompt)
                sequence.cache, sequence.cached = self._prefixes.fetch(key)
                sequence.done = sequence.cached
        if self._look(prefill.Chunk.of(group, budget)):
            return []
        logits = self._timed_read(group, budget)
        if logits is None:
            return []
        drawn = self._draw(group, logits)
        for sequence, _, _ in drawn:
            key = sequence.key(sequence.prompt)
            self._prefixes.insert(key, sequence.held, marks=sequence.marks)
            self._has_news = True
        return drawn

    def _look(self, chunk: prefill.Chunk) -> bool:
        """True when a picture of the chunk was looked at: one a step, as each may take long."""
        unseen = prefill.unseen(chunk)
        if unseen is None:
            return False
        sequence, picture = unseen
        self.excused_until = time.monotonic() + LOOK_S
        try:
            self._loaded.model.look(picture)
        except Exception:
            log.exception("looking at a picture of %s failed", sequence.request)
            self._prefilling.remove(sequence)
            self._fail(sequence, Code.INTERNAL, "the engine failed while looking at an image")
        finally:
            self.excused_until = 0.0
        return True

    def _timed_read(self, group: list[Sequence], budget: int) -> mx.array | None:
        # The step decoded last may still be running: it is not this chunk's cost.
        mx.synchronize(self._decoder.stream)
        started = time.perf_counter()
        chunk, context = prefill.Chunk.of(group, budget), group[0].done
        logits = prefill.read(self._loaded.model, chunk)
        if chunk.size >= prefill.SMALLEST:
            self._pace.learn(chunk.size, context, time.perf_counter() - started)
        self._read_tokens += chunk.size
        if self._read_tokens > prefill.CLEAR_TOKENS:
            self._read_tokens = 0
            mx.clear_cache()
        return logits

    def _draw(self, group: list[Sequence], logits: mx.array) -> list[prefill.Drawn]:
        """First tokens, all in one call; if that fails, one by one to see whose fault it is."""
        try:
            return prefill.first_tokens(group, masked(logits, [s.guide for s in group]))
        except Exception:
            log.exception("sampling %d first tokens failed", len(group))
        drawn = []
        for row, sequence in enumerate(group):
            try:
                own = masked(logits[row : row + 1], [sequence.guide])
                drawn += prefill.first_tokens([sequence], own)
            except Exception:
                log.exception("sampling for %s failed", sequence.request)
                self._prefilling.remove(sequence)
                self._fail(sequence, Code.INTERNAL, "the engine failed while sampling")
        return drawn

    def _begin(self, drawn: list[prefill.Drawn]) -> None:
        """First tokens go out; who wants more joins the decoding batch."""
        staying: list[prefill.Drawn] = []
        now = time.monotonic()
        for sequence, token, row in drawn:
            self._prefilling.remove(sequence)
            sequence.first_token_at = now
            if sequence.max_tokens == 0:
                self._end(sequence, Over("length"), now)
            elif not self._take(sequence, token, row, now):
                staying.append((sequence, token, row))
        if staying:
            sequences = [sequence for sequence, _, _ in staying]
            numbers = self._decoder.join(staying)
            self._decoding.update(zip(numbers, sequences, strict=True))
            for sequence in sequences:
                sequence.cache = None

    # Decoding

    def _decode(self) -> None:
        started = time.perf_counter()
        try:
            responses = self._decoder.step()
        except Exception:
            log.exception("a decode step of %d requests failed", len(self._decoding))
            self._collapse()
            return
        self._decode_s += LEARNING * (time.perf_counter() - started - self._decode_s)
        now = time.monotonic()
        stopped: list[int] = []
        for response in responses:
            uid = response.uid
            sequence = self._decoding[uid]
            if self._take(sequence, response.token, response.logprobs, now):
                if response.finish_reason is None:
                    stopped.append(uid)
                else:
                    del self._decoding[uid]
                    self._keep(sequence, response.all_tokens or [], response.prompt_cache or [])
        if stopped:
            self._release(stopped)

    def _take(self, sequence: Sequence, token: int, row: mx.array, now: float) -> bool:
        """One token of an answer becomes frames. True if the answer ends with it."""
        if sequence.guide is not None and (trouble := sequence.guide.trouble) is not None:
            self._fail(sequence, Code.INTERNAL, f"the answer went off its grammar: {trouble}")
            return True
        over: Over | None
        if token in self._ends:
            frames, over = sequence.turn_ended()
        else:
            self.generated_tokens += 1
            details: tuple[PositionLogprobs, ...] = ()
            if sequence.logprobs is not None:
                details = (logprobs.position(row, token, sequence.logprobs, self._loaded.pieces),)
            frames, over = sequence.took(token, details)
        self._emit(sequence, frames)
        return over is not None and self._end(sequence, over, now)

    def _release(self, uids: list[int]) -> None:
        """Out of the decoding batch before their natural end; what was computed is kept."""
        caches = self._decoder.leave(uids)
        for uid in uids:
            cache, tokens = caches[uid]
            self._keep(self._decoding.pop(uid), tokens, cache)

    def _keep(self, sequence: Sequence, tokens: list[int], cache: Cache) -> None:
        self._prefixes.insert(sequence.key(tokens), cache, sequence.session, sequence.marks)
        self._has_news = True

    def _collapse(self) -> None:
        lost, self._decoding = list(self._decoding.values()), {}
        for sequence in lost:
            self._fail(sequence, Code.INTERNAL, "the engine failed while generating")
        self._decoder.close()
        self._decoder = self._new_decoder()

    def _new_decoder(self) -> Decoder:
        return Decoder(self._loaded.model, self._ends, self._slots)

    # Ends

    def _end(self, sequence: Sequence, over: Over, now: float) -> bool:
        """Always true: the answer is over."""
        self._emit(sequence, [sequence.end(over.reason, over.stop, now)])
        return True

    def _fail(self, sequence: Sequence, code: Code, message: str) -> None:
        self._emit(sequence, [Failed(sequence.epoch, sequence.next_seq(), code.word, message)])

    def _emit(self, sequence: Sequence, frames: list[AnyFrame]) -> None:
        self._frames += [(sequence.request, frame) for frame in frames]

    def _expire(self) -> None:
        if (now := self._clock()) < self._next_expiry:
            return
        self._abandon(
            lambda s: s.expires_s is not None and s.expires_s <= now,
            Code.DEADLINE,
            "the request's deadline passed before its answer was complete",
        )
        everyone = [*self._waiting, *self._prefilling, *self._decoding.values()]
        self._next_expiry = min(
            (s.expires_s for s in everyone if s.expires_s is not None), default=float("inf")
        )

    def _abandon(self, is_over: Callable[[Sequence], bool], code: Code, message: str) -> None:
        for sequence in [s for s in self._waiting if is_over(s)]:
            self._waiting.remove(sequence)
            self._fail(sequence, code, message)
        for sequence in [s for s in self._prefilling if is_over(s)]:
            self._prefilling.remove(sequence)
            if sequence.cache is not None:
                self._keep(sequence, sequence.prompt[: sequence.done], sequence.cache)
            self._fail(sequence, code, message)
        if uids := [uid for uid, s in self._decoding.items() if is_over(s)]:
            for uid in uids:
                self._fail(self._decoding[uid], code, message)
            self._release(uids)
