"""Thread M: the one thread that loads and runs a model, and the doors to it.

Import it after ``blas.preload()``: it imports mlx.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from proto.errors import Code
from proto.ids import RequestId
from proto.presence import CacheLoad, Drafting
from services.runner.engine.batching import batch
from services.runner.engine.batching.batch import Batch
from services.runner.engine.batching.execution import Execution, PassesEnd
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.outbox import Frames
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.loading import LoadedModel
from services.runner.engine.queueing.queue import Queue

log = logging.getLogger(__name__)

STOP_S = 2.0
"""A step that takes longer than this is not waited for when the engine stops."""

LEAST_WAIT_S = 0.0005
"""A shorter wait is not worth going to sleep for."""


@dataclass(frozen=True)
class _Arrival:
    """Somebody was put into the queue."""


@dataclass(frozen=True)
class _Hold:
    """The client of a request does not read."""

    request: RequestId


@dataclass(frozen=True)
class _GoOn:
    """It reads again."""

    request: RequestId


@dataclass(frozen=True)
class _Cancel:
    """The order to end a request, up to one of its attempts; None: all."""

    request: RequestId
    epoch: int | None


@dataclass(frozen=True)
class _Release:
    """The order to let go of a request, which may go on elsewhere."""

    request: RequestId
    why: str


@dataclass(frozen=True)
class _Stop:
    """The order to end."""


_Order = _Arrival | _Hold | _GoOn | _Cancel | _Release | _Stop


@dataclass(frozen=True)
class Snapshot:
    """The thread's state as of now; what EngineBeat says of it."""

    steps: int
    last_step_at: float
    """Monotonic seconds."""
    has_work: bool
    running: int
    queued: int
    """Waiting for a slot."""
    parked: int
    """Neither running nor queued, since their clients do not read."""
    queued_tokens: int
    unread: int
    """Requests that these are of."""
    prefill_tokens_per_s: float
    generated_tokens: int
    kv_used_tokens: int
    """Those that running requests hold or are about to."""
    cache: CacheLoad
    prefixes: dict[bytes, int]
    memory_bytes: int
    drafting: Drafting | None


class ModelThread:
    """A model on a thread of its own. Every method may be called from any other thread."""

    def __init__(
        self,
        load: Callable[[], Execution],
        deliver: Callable[[Frames], None],
        *,
        slots: int = batch.SLOTS,
        cache_bytes: int = 1 << 30,
        kv: KvRoom = batch.UNBOUNDED,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """``load`` and ``deliver`` are called on the model's thread, ``deliver`` once for each step
        that has frames.

        ``end`` ends the process, should nothing work any more.
        """
        self._load = load
        self._deliver = deliver
        self._slots = slots
        self._cache_bytes = cache_bytes
        self._kv = kv
        self._end = end
        self._inbox: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._batch: Batch | None = None
        self._steps = 0
        self._last_step_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.loaded: Future[LoadedModel] = Future()
        """The model once it can serve, or why it cannot: a NotLoadable, most likely."""

    def start(self) -> Future[LoadedModel]:
        self._thread.start()
        return self.loaded

    @property
    def queue(self) -> Queue[Sequence]:
        """Of a model that is loaded."""
        assert self._batch is not None, "only a loaded model has a queue"
        return self._batch.queue

    def lacks_memory_for(self, sequence: Sequence) -> bool:
        """It would have to wait, as things stand."""
        used = self._batch.kv_used_tokens if self._batch else 0
        return self._kv.tokens is not None and used + sequence.claim > self._kv.tokens

    def submit(self, sequence: Sequence) -> None:
        """Admitted at the very next step, if a slot is free."""
        self.queue.add(sequence)
        self._inbox.put(_Arrival())

    def cancel(self, request: RequestId, epoch: int | None = None) -> None:
        """Effective at the next step; harmless for a request that is over.

        ``epoch`` is its last attempt that is meant; None: all are.
        """
        self._inbox.put(_Cancel(request, epoch))

    def release(self, request: RequestId, why: str) -> None:
        """As ``cancel``, but it ends with ``engine_lost``: whoever still wants it may go on."""
        self._inbox.put(_Release(request, why))

    def hold(self, request: RequestId) -> None:
        """Its slot and its memory are others' from the next step on, until it may go on."""
        self._inbox.put(_Hold(request))

    def go_on(self, request: RequestId) -> None:
        """Harmless for a request that was never held, or is over."""
        self._inbox.put(_GoOn(request))

    @property
    def parked(self) -> int:
        return self._batch.parked if self._batch else 0

    def stop(self, timeout_s: float = STOP_S) -> None:
        """What still runs fails with ``engine_lost``, so that it may go on elsewhere.

        A model that is still loading is not waited for: the thread ends with the process.
        """
        self._inbox.put(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def snapshot(self) -> Snapshot:
        work, arriving = self._batch, self._inbox.qsize()
        excused_until = work.excused_until if work else 0.0
        return Snapshot(
            steps=self._steps,
            last_step_at=max(self._last_step_at, min(time.monotonic(), excused_until)),
            has_work=arriving > 0 or (work is not None and work.has_work),
            running=work.running if work else 0,
            queued=work.queued if work else 0,
            parked=work.parked if work else 0,
            queued_tokens=work.queued_tokens if work else 0,
            unread=arriving + (work.unread if work else 0),
            prefill_tokens_per_s=work.prefill_tokens_per_s if work else 0.0,
            generated_tokens=work.generated_tokens if work else 0,
            kv_used_tokens=work.kv_used_tokens if work else 0,
            cache=work.cache_load if work else CacheLoad(),
            prefixes=work.cached_prefixes if work else {},
            memory_bytes=mx.get_active_memory() + mx.get_cache_memory(),
            drafting=work.drafting if work else None,
        )

    def _run(self) -> None:
        try:
            execution = self._load()
            work = Batch(execution, slots=self._slots, cache_bytes=self._cache_bytes, kv=self._kv)
            work.warm()
        except BaseException as failure:  # noqa: BLE001 - handed to whoever waits for the model
            self.loaded.set_exception(failure)
            return
        self._batch = work
        self.loaded.set_result(execution.loaded)
        try:
            while self._obey(work):
                self._step(work)
            work.abandon_all(Code.ENGINE_LOST, "the engine is stopping")
            self._hand_over(work.step())
            work.end()
        except BaseException as failure:
            log.exception("the engine can make no more passes, and ends")
            self._end(failure.status if isinstance(failure, PassesEnd) else os.EX_SOFTWARE)

    def _obey(self, work: Batch) -> bool:
        """Carries out all orders there are; waits for one when there is nothing else to do.

        False when one of them was to end.
        """
        was_idle = not work.has_work
        while not (self._inbox.empty() and work.has_work):
            try:
                order = self._inbox.get(timeout=work.rest_s)
            except queue.Empty:
                work.rest()
                continue
            if not self._carry_out(order, work):
                return False
        # A step clock that stood because nothing was to do has not stalled.
        self._last_step_at = time.monotonic()
        return self._gather(work) if was_idle else True

    def _gather(self, work: Batch) -> bool:
        """Gives those who come with the first a moment: one pass reads all their prompts."""
        end = time.monotonic() + work.patience_s
        while (left_s := end - time.monotonic()) > LEAST_WAIT_S:
            try:
                order = self._inbox.get(timeout=left_s)
            except queue.Empty:
                break
            if not self._carry_out(order, work):
                return False
        return True

    def _carry_out(self, order: _Order, work: Batch) -> bool:
        match order:
            case _Arrival():
                pass  # It is in the queue already.
            case _Hold(request):
                work.hold(request)
            case _GoOn(request):
                work.go_on(request)
            case _Stop():
                return False
            case _Release(request, why):
                work.cancel(request, Code.ENGINE_LOST, why)
            case _Cancel(request, epoch):
                work.cancel(request, epoch=epoch)
        return True

    def _step(self, work: Batch) -> None:
        try:
            frames = work.step()
            self._steps += 1
        except Exception as failure:
            log.exception("a step failed; all of its requests are given up")
            self._surely(partial(work.give_up_all, failure))
            frames = []
        self._hand_over(frames)
        self._surely(work.prove)

    def _surely(self, act: Callable[[], None]) -> None:
        """Without it this process serves nobody any more; its agent starts another."""
        try:
            act()
        except Exception:
            log.exception("the engine is of no use any more and ends, to be started anew")
            self._end(os.EX_SOFTWARE)

    def _hand_over(self, frames: Frames) -> None:
        if frames:
            self._deliver(frames)
