"""Continuous batching: who is admitted, what a step runs, and the frames that come of it.

A step reads at most one chunk of prompts, then decodes one token of every
running answer. Everything here belongs to the one thread that owns mlx.
"""

import logging
import time
from collections.abc import Callable

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from proto.errors import Code, MeshError
from proto.frames import AnyFrame, Failed, PositionLogprobs, Progress
from proto.ids import RequestId
from proto.presence import CacheLoad
from services.runner.engine.batching import logprobs
from services.runner.engine.batching import prefill
from services.runner.engine.batching import sampling
from services.runner.engine.answer.channels import Over
from services.runner.engine.constraints.masks import masked
from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.loading import LoadedModel
from services.runner.engine.batching.pausing import Pausing
from services.runner.engine.caching.prefix_cache import prefix_cache
from services.runner.engine.queueing.queue import Queue
from services.runner.engine.batching.running import Running
from services.runner.engine.caching.cache import Cache
from services.runner.engine.batching.sequence import Sequence

SLOTS = 64
PROGRESS_S = 0.5
"""With the longest chunk on top, a reader hears of a long prompt at least every second."""
PATIENCE, PATIENCE_S = 0.1, 0.010
"""Part of its prompt's time that a lone request may wait for others, and the most."""
LOOK_S = 60.0
"""A vision tower takes a picture in one piece, however large: seconds on a small machine."""
REASSURE_S = 2.0
"""How often a reader hears of an answer that is paused."""
HASTE = 0.5
"""Part of a prompt's measured cost that must fit before its deadline: the measure is rough."""
TELL_S = 0.5
"""How often heartbeats may learn of a change in the prefix cache while there is work."""
LEARNING = 0.2
"""Weight of the latest decode step in the measured step time."""

log = logging.getLogger(__name__)

Frames = list[tuple[RequestId, AnyFrame]]
UNBOUNDED = KvRoom()


class Batch:
    """One model's requests: ``slots`` of them at work, the others waiting in fair order."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        slots: int = SLOTS,
        cache_bytes: int = 1 << 30,
        kv: KvRoom = UNBOUNDED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``cache_bytes`` are the prefix cache's where ``kv`` bounds nothing; ``clock`` gives unix
        seconds, by which requests expire.
        """
        self._loaded = loaded
        self._slots = slots
        self._clock = clock
        self._ends = frozenset(loaded.tokenizer.eos_token_ids)
        self._kv = kv
        self._cache_bytes = cache_bytes
        self._prefixes = prefix_cache(loaded.model, kv.left_bytes(0, cache_bytes))
        self.queue: Queue[Sequence] = Queue(slots, clock)
        """Requests may be put into it on any thread."""
        self._running = Running(self._new_decoder())
        self._pausing = Pausing(self._running, self.queue, kv, slots, self._keep)
        self._frames: Frames = []
        self._pace = prefill.Pace()
        self._turn = 0
        self._reassured_at = 0.0
        self._decode_s = 0.0
        self._read_tokens = 0
        self._next_expiry = float("inf")
        self._has_news = False
        """The prefix cache changed since it was told of."""
        self._told_at = 0.0
        self.cached_prefixes: dict[bytes, int] = {}
        """What the prefix cache held a moment ago. Replaced, never changed, so all may read it."""
        self.generated_tokens = 0
        self.excused_until = 0.0
        """Monotonic seconds until which a step may take long without being stuck."""

    @property
    def has_work(self) -> bool:
        return bool(len(self._running) or len(self.queue) or self._frames)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def queued(self) -> int:
        return len(self.queue)

    @property
    def queued_tokens(self) -> int:
        """Prompt tokens not yet read. Safe to ask from any thread: it sums over copies."""
        return sum(s.remaining for s in [*self.queue, *list(self._running.reading)])

    @property
    def kv_used_tokens(self) -> int:
        """What running requests hold or are about to. Safe to ask from any thread."""
        return sum(sequence.claim for sequence in self._running)

    @property
    def unread(self) -> int:
        """Requests that have prompt tokens to be read."""
        return len(self.queue) + len(self._running.reading)

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

    def add(self, sequence: Sequence) -> None:
        self.queue.add(sequence)

    def cancel(self, request: RequestId) -> None:
        """Its slot is free at once; its reader hears of it with the next step's frames."""
        with mx.stream(self._running.decoder.stream):
            self._abandon(
                lambda s: s.request == request, Code.CANCELLED, "the request was cancelled"
            )

    def abandon_all(self, code: Code, message: str) -> None:
        with mx.stream(self._running.decoder.stream):
            self._abandon(lambda _: True, code, message)

    def close(self) -> None:
        """Gives back the memory limit that the generator set."""
        self._running.decoder.close()

    def warm(self) -> None:
        """A first pass of no request's, so that none waits for kernels and the pace is known."""
        with mx.stream(self._running.decoder.stream):
            for _ in range(2):
                blank = Sequence(RequestId("warm"), [0] * prefill.SMALLEST, 1)
                blank.cache = make_prompt_cache(self._loaded.model)
                self._timed_read([blank], prefill.SMALLEST)

    def step(self) -> Frames:
        """One chunk of prompts, one token of each answer; the frames in the order they arose."""
        with mx.stream(self._running.decoder.stream):
            self._expire()
            if self._kv.is_bounded:
                self._keep_within_memory()
            self._admit()
            self._reassure()
            # First tokens go out before the decode step that would be theirs alone.
            has_streams = bool(self._running.answering)
            if self._running.reading:
                self._prefill()
            if has_streams:
                self._decode()
        self._tell()
        frames, self._frames = self._frames, []
        return frames

    def _tell(self) -> None:
        """Not at every step while there are steps: it looks at the whole cache."""
        now = time.monotonic()
        is_idle = not len(self._running)
        if self._has_news and (is_idle or now - self._told_at >= TELL_S):
            self.cached_prefixes = self._prefixes.told()
            self._told_at, self._has_news = now, False

    # Admission

    def _admit(self) -> None:
        while (sequence := self.queue.next()) is not None and self._pausing.makes_room(sequence):
            self.queue.take(sequence)
            try:
                self._begin_reading(sequence)
            except MeshError as refused:
                self._fail(sequence, refused.code, refused.message)

    def _begin_reading(self, sequence: Sequence) -> None:
        """Raises MeshError."""
        self._match(sequence)
        now = time.monotonic()
        if not sequence.is_equipped:
            sequence.admitted_at = now
            self._expect_in_time(sequence)
            self._equip(sequence)
        self._running.reading.append(sequence)
        self._report(sequence, now)

    def _expect_in_time(self, sequence: Sequence) -> None:
        """Raises MeshError for a prompt that could not even be read before the deadline."""
        if sequence.expires_s is None:
            return
        left_s = sequence.expires_s - self._clock()
        if HASTE * self._pace.cost_s(sequence.remaining) > left_s:
            raise MeshError(
                Code.DEADLINE,
                f"reading {sequence.remaining} tokens takes longer than the {left_s:.1f} s that "
                "the request's deadline leaves: allow more time",
            )
        self._next_expiry = min(self._next_expiry, sequence.expires_s)

    def _equip(self, sequence: Sequence) -> None:
        asked, vocab_size = sequence.sampling, self._loaded.vocab_size
        sampling.check(asked, vocab_size)
        sequence.sampler = sampling.sampler(asked, vocab_size)
        sequence.processors = sampling.processors(asked, sequence.prompt_tokens)
        before = sequence.prompt[-1]
        sequence.answer = sequence.outline.answer(self._loaded.pieces, before, sequence.stop)
        sequence.guide = sequence.outline.guide(self._loaded, before)

    def _match(self, sequence: Sequence) -> None:
        sequence.know(self._prefixes.match(sequence.prefix_key(sequence.prompt)))
        sequence.matched_at = self._prefixes.version

    def _report(self, sequence: Sequence, now: float) -> None:
        sequence.progress_at = now
        self._emit(
            sequence,
            [
                Progress(
                    sequence.epoch,
                    sequence.next_seq(),
                    min(sequence.done, sequence.prompt_tokens),
                    sequence.prompt_tokens,
                    sequence.cached,
                )
            ],
        )

    # Reading prompts

    def _prefill(self) -> None:
        reading = self._running.reading
        for sequence in reading:
            if sequence.cache is None and sequence.matched_at != self._prefixes.version:
                self._match(sequence)
        group, budget = prefill.choose(reading, self._budget, self._turn, self.queue.rank)
        self._turn += 1
        try:
            drawn = self._read(group, budget)
        except Exception:
            log.exception("reading the prompts of %s failed", [s.request for s in group])
            for sequence in group:
                reading.remove(sequence)
                self._fail(sequence, Code.INTERNAL, "the engine failed while reading the prompt")
        else:
            self._begin(drawn)
        now = time.monotonic()
        for sequence in reading:
            if now - sequence.progress_at >= PROGRESS_S:
                self._report(sequence, now)

    def _budget(self, first: Sequence) -> int:
        """Tokens that a chunk may have that begins with this prompt's."""
        decoding = list(self._running.answering.values())
        seconds = prefill.share_s(
            len(self._running.reading),
            len(decoding),
            self._decode_s,
            is_owed=prefill.is_owed(first, decoding),
        )
        return self._pace.tokens(seconds, first.done)

    def _read(self, group: list[Sequence], budget: int) -> list[prefill.Drawn]:
        """First tokens if the chunk ends the group's prompts, which the prefix cache then knows."""
        for sequence in group:
            if sequence.cache is None:
                key = sequence.prefix_key(sequence.prompt)
                sequence.cache, known = self._prefixes.fetch(key)
                sequence.know(known)
        if self._look(prefill.Chunk.of(group, budget)):
            return []
        logits = self._timed_read(group, budget)
        if logits is None:
            return []
        drawn = self._draw(group, logits)
        for sequence, _, _ in drawn:
            key = sequence.prefix_key(sequence.prompt)
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
            self._running.reading.remove(sequence)
            self._fail(sequence, Code.INTERNAL, "the engine failed while looking at an image")
        finally:
            self.excused_until = 0.0
        return True

    def _timed_read(self, group: list[Sequence], budget: int) -> mx.array | None:
        # The step decoded last may still be running: it is not this chunk's cost.
        mx.synchronize(self._running.decoder.stream)
        started = time.perf_counter()
        chunk, context = prefill.Chunk.of(group, budget), group[0].done
        logits = prefill.read(self._loaded.model, chunk)
        if chunk.size >= prefill.SMALLEST:
            self._pace.learn(chunk.size, context, time.perf_counter() - started)
        for sequence, tokens in zip(chunk.sequences, chunk.tokens, strict=True):
            sequence.share.read(len(tokens))
        self._read_tokens += chunk.size
        if self._read_tokens > prefill.CLEAR_TOKENS:
            self._read_tokens = 0
            mx.clear_cache()
        return logits

    def _draw(self, group: list[Sequence], logits: mx.array) -> list[prefill.Drawn]:
        """Next tokens; whoever was paused has its drawn already."""
        drawn = [(s, *s.pending) for s in group if s.pending is not None]
        rows = [row for row, s in enumerate(group) if s.pending is None]
        if len(rows) == len(group):
            return self._draw_first(group, logits)
        if rows:
            drawn += self._draw_first([group[row] for row in rows], logits[mx.array(rows)])
        return drawn

    def _draw_first(self, group: list[Sequence], logits: mx.array) -> list[prefill.Drawn]:
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
                self._running.reading.remove(sequence)
                self._fail(sequence, Code.INTERNAL, "the engine failed while sampling")
        return drawn

    def _begin(self, drawn: list[prefill.Drawn]) -> None:
        """First tokens go out; who wants more joins the decoding batch."""
        staying: list[prefill.Drawn] = []
        now = time.monotonic()
        for sequence, token, row in drawn:
            self._running.reading.remove(sequence)
            sequence.pending = None
            sequence.first_token_at = sequence.first_token_at or now
            if sequence.max_tokens == 0:
                self._end(sequence, Over("length"), now)
            elif not self._take(sequence, token, row, now):
                staying.append((sequence, token, row))
        if staying:
            sequences = [sequence for sequence, _, _ in staying]
            numbers = self._running.decoder.join(staying)
            self._running.answering.update(zip(numbers, sequences, strict=True))
            for sequence in sequences:
                sequence.cache = None

    # Decoding

    def _decode(self) -> None:
        started = time.perf_counter()
        try:
            responses = self._running.decoder.step()
        except Exception:
            log.exception("a decode step of %d requests failed", len(self._running.answering))
            self._collapse()
            return
        self._decode_s += LEARNING * (time.perf_counter() - started - self._decode_s)
        now = time.monotonic()
        stopped: list[int] = []
        for response in responses:
            uid = response.uid
            sequence = self._running.answering[uid]
            if self._take(sequence, response.token, response.logprobs, now):
                if response.finish_reason is None:
                    stopped.append(uid)
                else:
                    del self._running.answering[uid]
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
            sequence.share.generated()
            details: tuple[PositionLogprobs, ...] = ()
            if sequence.logprobs is not None:
                details = (logprobs.position(row, token, sequence.logprobs, self._loaded.pieces),)
            frames, over = sequence.took(token, details)
        self._emit(sequence, frames)
        return over is not None and self._end(sequence, over, now)

    def _release(self, uids: list[int]) -> None:
        """Out of the decoding batch before their natural end; what was computed is kept."""
        caches = self._running.decoder.leave(uids)
        for uid in uids:
            cache, tokens = caches[uid]
            self._keep(self._running.answering.pop(uid), tokens, cache)

    def _keep(self, sequence: Sequence, tokens: list[int], cache: Cache) -> None:
        key = sequence.prefix_key(tokens)
        self._prefixes.insert(key, cache, sequence.session, sequence.marks)
        self._has_news = True

    def _collapse(self) -> None:
        lost, self._running.answering = list(self._running.answering.values()), {}
        for sequence in lost:
            self._fail(sequence, Code.INTERNAL, "the engine failed while generating")
        self._running.decoder.close()
        self._running.decoder = self._new_decoder()

    def _new_decoder(self) -> Decoder:
        return Decoder(self._loaded.model, self._ends, self._slots)

    # Memory and patience

    def _keep_within_memory(self) -> None:
        held = self._pausing.keep_within_memory()
        self._has_news |= self._prefixes.resize(self._kv.left_bytes(held, self._cache_bytes))

    def _reassure(self) -> None:
        """A client whose answer is paused hears that it goes on."""
        now = time.monotonic()
        if len(self.queue) and now - self._reassured_at >= REASSURE_S:
            self._reassured_at = now
            for sequence in self.queue:
                if sequence.was_paused:
                    self._report(sequence, now)

    # Ends

    def _end(self, sequence: Sequence, over: Over, now: float) -> bool:
        """Always true: the answer is over."""
        self.queue.end(sequence)
        self._emit(sequence, [sequence.end(over.reason, over.stop, now)])
        return True

    def _fail(self, sequence: Sequence, code: Code, message: str) -> None:
        """Of those that run."""
        self.queue.end(sequence)
        self._refuse(sequence, code, message)

    def _refuse(self, sequence: Sequence, code: Code, message: str) -> None:
        self._emit(sequence, [Failed(sequence.epoch, sequence.next_seq(), code.word, message)])

    def _emit(self, sequence: Sequence, frames: list[AnyFrame]) -> None:
        self._frames += [(sequence.request, frame) for frame in frames]

    def _expire(self) -> None:
        now = self._clock()
        if now < min(self._next_expiry, self.queue.next_expiry):
            return
        self._abandon(
            lambda s: s.expires_s is not None and s.expires_s <= now,
            Code.DEADLINE,
            "the request's deadline passed before its answer was complete",
        )
        self._next_expiry = min(
            (s.expires_s for s in self._running if s.expires_s is not None),
            default=float("inf"),
        )

    def _abandon(self, is_over: Callable[[Sequence], bool], code: Code, message: str) -> None:
        for sequence in self.queue.withdraw(is_over):
            self._refuse(sequence, code, message)
        for sequence in [s for s in self._running.reading if is_over(s)]:
            self._running.reading.remove(sequence)
            if sequence.cache is not None:
                self._keep(sequence, sequence.prompt[: sequence.done], sequence.cache)
            self._fail(sequence, code, message)
        if uids := [uid for uid, s in self._running.answering.items() if is_over(s)]:
            for uid in uids:
                self._fail(self._running.answering[uid], code, message)
            self._release(uids)
