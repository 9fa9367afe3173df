"""Continuous batching: who is admitted, what a step runs, and the frames that come of it.

A step reads at most one chunk of prompts, then decodes one token of every
running answer. Everything here belongs to the one thread that owns mlx.
"""

import time
from collections.abc import Callable

import mlx.core as mx

from proto.errors import Code, MeshError
from proto.ids import RequestId
from proto.presence import CacheLoad, Drafting
from services.runner.engine.batching import sampling
from services.runner.engine.batching.answering import Answers
from services.runner.engine.batching.endings import Endings
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.mishaps import Mishaps
from services.runner.engine.batching.outbox import Frames, Outbox
from services.runner.engine.batching.parking import Parking
from services.runner.engine.batching.pausing import Pausing
from services.runner.engine.batching.reading import Reader
from services.runner.engine.batching.running import Running
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.queueing.queue import Queue

SLOTS = 64
PATIENCE, PATIENCE_S = 0.1, 0.010
"""Part of its prompt's time that a lone request may wait for others, and the most."""
HASTE = 0.5
"""Part of a prompt's measured cost that must fit before its deadline: the measure is rough."""

UNBOUNDED = KvRoom()


class Batch:
    """One model's requests: ``slots`` of them at work, the others waiting in fair order."""

    def __init__(
        self,
        execution: Execution,
        *,
        slots: int = SLOTS,
        cache_bytes: int = 1 << 30,
        kv: KvRoom = UNBOUNDED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cache_bytes`` are the prefix cache's where ``kv`` bounds nothing; ``clock`` gives
        monotonic seconds, by which requests expire.
        """
        self._execution = execution
        self._loaded = execution.loaded
        self._clock = clock
        self._kv = kv
        self._cache_bytes = cache_bytes
        self._prefixes = execution.prefixes(kv.left_bytes(0, cache_bytes))
        self.queue: Queue[Sequence] = Queue(slots, clock)
        """Requests may be put into it on any thread."""
        self._running = Running(execution.decoder(slots))
        self._pausing = Pausing(self._running, self.queue, kv, slots, self._prefixes.keep)
        self._parking = Parking(self._running, self.queue, self._pausing)
        self._reader = Reader(execution, self._running, self._prefixes, self.queue.rank, self._lose)
        self._outbox = Outbox()
        self._endings = Endings(self.queue, self._outbox)
        self._mishaps = Mishaps(self._prefixes.forget)
        self._answers = Answers(
            execution,
            self._running,
            self._prefixes,
            self._outbox,
            self._endings,
            self._mishaps,
            slots,
        )
        self._next_expiry = float("inf")

    @property
    def has_work(self) -> bool:
        return bool(len(self._running) or len(self.queue) or len(self._outbox))

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def queued(self) -> int:
        return len(self.queue)

    @property
    def parked(self) -> int:
        return len(self._parking)

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
        return self._reader.pace.tokens_per_s

    @property
    def patience_s(self) -> float:
        """How long the first to come may wait for company: little beside its own prompt."""
        cost_s = self._reader.pace.cost_s(self.queued_tokens)
        return min(PATIENCE_S, PATIENCE * cost_s)

    @property
    def generated_tokens(self) -> int:
        return self._answers.generated_tokens

    @property
    def cache_load(self) -> CacheLoad:
        return self._prefixes.load

    @property
    def drafting(self) -> Drafting | None:
        """How a model that guesses for it fares."""
        return self._execution.drafting

    @property
    def cached_prefixes(self) -> dict[bytes, int]:
        """What the prefix cache held a moment ago. Safe to read on any thread."""
        return self._prefixes.told

    @property
    def excused_until(self) -> float:
        """Monotonic seconds until which a step may take long without being stuck."""
        return self._reader.excused_until

    def add(self, sequence: Sequence) -> None:
        self.queue.add(sequence)

    def cancel(
        self,
        request: RequestId,
        code: Code = Code.CANCELLED,
        message: str = "the request was cancelled",
        epoch: int | None = None,
    ) -> None:
        """Its slot is free at once; its reader hears of it with the next step's frames.

        ``epoch`` is its last attempt that is meant; None: all are.
        """
        with mx.stream(self._running.decoder.stream):
            self._abandon(
                lambda s: s.request == request and (epoch is None or s.epoch <= epoch),
                code,
                message,
            )

    def hold(self, request: RequestId) -> None:
        """Its client does not read: others get its slot and its memory from the next step on."""
        self._parking.hold(request)

    def go_on(self, request: RequestId) -> None:
        """Its client reads again; harmless for a request that was never held."""
        self._parking.go_on(request)

    def abandon_all(self, code: Code, message: str) -> None:
        with mx.stream(self._running.decoder.stream):
            self._abandon(lambda _: True, code, message)

    def close(self) -> None:
        """Gives back the memory limit that the generator set."""
        self._running.decoder.close()

    def warm(self) -> None:
        """A first pass of no request's, so that none waits for kernels and the pace is known."""
        with mx.stream(self._running.decoder.stream):
            self._answers.keep_promise()
            self._reader.warm()

    @property
    def rest_s(self) -> float | None:
        """How often ``rest`` is called while there is no work; None: never."""
        return self._execution.rest_s

    def rest(self) -> None:
        """There has been no work for a while."""
        with mx.stream(self._running.decoder.stream):
            self._answers.keep_promise()
            self._execution.rest()

    def end(self) -> None:
        """There will be no step any more."""
        with mx.stream(self._running.decoder.stream):
            self._answers.keep_promise()
            self._execution.end()

    def step(self) -> Frames:
        """One chunk of prompts, one token of each answer; the frames in the order they arose."""
        with mx.stream(self._running.decoder.stream):
            held = self._held_if_plain() if self._execution.looks_ahead else None
            if held is None:
                self._make_step()
            else:
                self._make_plain_step(held)
        self._prefixes.tell(is_idle=not len(self._running))
        return self._outbox.take()

    def _make_step(self) -> None:
        self._answers.keep_promise()
        self._expire()
        self._parking.park()
        if self._kv.is_bounded:
            self._keep_within_memory()
        self._admit()
        if len(self.queue):
            self._outbox.reassure(self.queue)
        # First tokens go out before the decode step that would be theirs alone.
        has_streams = bool(self._running.answering)
        if self._running.reading:
            self._read()
        if has_streams:
            self._answers.step()

    def _held_if_plain(self) -> int | None:
        """Bytes of all KV caches, if a token of each answer is all that there is to do."""
        is_quiet = not (self._running.reading or len(self.queue) or self._parking.is_due)
        return self._pausing.held_unless_due() if is_quiet and not self._is_expiring else None

    def _make_plain_step(self, held: int) -> None:
        """Whoever comes meanwhile finds the next step promised, and waits for that one, too."""
        self._prefixes.resize(self._kv.left_bytes(held, self._cache_bytes))
        if self._running.answering:
            self._answers.step(may_promise=True)

    # Admission

    def _admit(self) -> None:
        while (sequence := self.queue.next()) is not None and self._pausing.makes_room(sequence):
            self.queue.take(sequence)
            try:
                self._begin_reading(sequence)
            except MeshError as refused:
                self._endings.fail(sequence, refused.code, refused.message)

    def _begin_reading(self, sequence: Sequence) -> None:
        """Raises MeshError."""
        self._prefixes.match(sequence)
        now = time.monotonic()
        if not sequence.was_admitted:
            sequence.admitted_at = now
            self._expect_in_time(sequence)
            self._equip(sequence)
        self._running.reading.append(sequence)
        self._outbox.report(sequence, now)

    def _expect_in_time(self, sequence: Sequence) -> None:
        """Raises MeshError for a prompt that could not even be read before the deadline."""
        if sequence.expires_at is None:
            return
        left_s = sequence.expires_at - self._clock()
        if HASTE * self._reader.pace.cost_s(sequence.remaining) > left_s:
            raise MeshError(
                Code.DEADLINE,
                f"reading {sequence.remaining} tokens takes longer than the {left_s:.1f} s that "
                "the request's deadline leaves: allow more time",
            )
        self._next_expiry = min(self._next_expiry, sequence.expires_at)

    def _equip(self, sequence: Sequence) -> None:
        asked, vocab_size = sequence.sampling, self._loaded.vocab_size
        sampling.check(asked, vocab_size)
        sequence.sampler = sampling.sampler(asked, vocab_size, sequence.generated)
        sequence.processors = sampling.processors(asked, sequence.prompt_tokens)
        if sequence.answer is None:
            sequence.prepare(self._loaded)

    # Reading prompts

    def _read(self) -> None:
        self._answers.begin(self._reader.step(self._answers.step_s))
        self._outbox.report_long(self._running.reading)

    def _lose(self, sequence: Sequence, failure: Exception, doing: str) -> None:
        """Of those whose prompts are read."""
        self._running.reading.remove(sequence)
        error = self._mishaps.of(failure, doing)
        self._endings.fail(sequence, error.code, error.message)

    # Failures

    def give_up_all(self, failure: Exception) -> None:
        """After a step that failed as a whole: none of its requests goes on."""
        error = self._mishaps.of(failure, "making a step")
        self.abandon_all(error.code, error.message)

    def prove(self) -> None:
        """After something failed: raises what it does where nothing works any more."""
        self._mishaps.prove(self.warm)

    # Memory

    def _keep_within_memory(self) -> None:
        held = self._pausing.keep_within_memory()
        self._prefixes.resize(self._kv.left_bytes(held, self._cache_bytes))

    # Ends

    @property
    def _is_expiring(self) -> bool:
        return self._clock() >= min(self._next_expiry, self.queue.next_expiry)

    def _expire(self) -> None:
        if not self._is_expiring:
            return
        now = self._clock()
        self._abandon(
            lambda s: s.expires_at is not None and s.expires_at <= now,
            Code.DEADLINE,
            "the request's deadline passed before its answer was complete",
        )
        self._next_expiry = min(
            (s.expires_at for s in [*self._running, *self._parking] if s.expires_at is not None),
            default=float("inf"),
        )

    def _abandon(self, is_over: Callable[[Sequence], bool], code: Code, message: str) -> None:
        for sequence in [*self.queue.withdraw(is_over), *self._parking.withdraw(is_over)]:
            self._outbox.fail(sequence, code, message)
        for sequence in [s for s in self._running.reading if is_over(s)]:
            self._running.reading.remove(sequence)
            if sequence.cache is not None:
                self._prefixes.keep(sequence, sequence.prompt[: sequence.done], sequence.cache)
            self._endings.fail(sequence, code, message)
        if uids := [uid for uid, s in self._running.answering.items() if is_over(s)]:
            self._answers.abandon(uids, code, message)
