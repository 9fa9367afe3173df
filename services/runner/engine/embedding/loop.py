"""Thread M of an engine that reads and generates nothing: it loads the model and runs the passes.

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

import mlx.core as mx
import numpy as np

from proto.errors import Code, MeshError
from proto.ids import KeyId, RequestId
from services.runner.engine.batching.mishaps import Mishaps
from services.runner.engine.embedding import loading
from services.runner.engine.embedding.loading import LoadedReader
from services.runner.engine.embedding.page import Page
from services.runner.engine.embedding.passes import (
    Job,
    Numbers,
    Pace,
    Place,
    Rotation,
    too_late,
)
from services.runner.engine.embedding.row import Row
from services.runner.engine.loading import Source
from services.runner.models.kind import Kind

log = logging.getLogger(__name__)

LEAST, MOST = 16, 16_384 if mx.metal.is_available() else 512
"""Tokens of a pass. More in one only take memory, and on a CPU fall out of its caches."""
WARM_TOKENS = 64
STOP_S = 2.0
"""A pass that takes longer than this is not waited for when the engine stops."""
HOARD_BYTES = 1 << 30
"""mlx keeps the buffers of every width it met; beyond this they are given back."""

Deliver = Callable[[Job, MeshError | None], None]
"""Told on this thread that a job is done, or why it never will be."""


@dataclass(frozen=True)
class _Arrival:
    """A request was put into the queue."""


@dataclass(frozen=True)
class _Cancel:
    job: Job


@dataclass(frozen=True)
class _Stop:
    """The order to end."""


_Order = _Arrival | _Cancel | _Stop


@dataclass(frozen=True)
class Snapshot:
    """The thread's state as of now; what EngineBeat says of it."""

    steps: int
    last_step_at: float
    """Monotonic seconds."""
    has_work: bool
    queued_tokens: int
    """Of rows that are in no pass yet."""
    memory_bytes: int


class ReaderThread:
    """A model on a thread of its own. Every method may be called from any other thread."""

    def __init__(
        self,
        source: Source,
        kind: Kind,
        deliver: Deliver,
        *,
        slots: int,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """``end`` ends the process, should nothing work any more."""
        self._source = source
        self._kind = kind
        self._deliver = deliver
        self._end = end
        self._inbox: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._rotation = Rotation(slots)
        self._mishaps = Mishaps(lambda: None)
        self._pace = Pace(LEAST, MOST)
        self._reading: list[Place] = []
        self._queued_tokens = 0
        self._steps = 0
        self._last_step_at = time.monotonic()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.loaded: Future[LoadedReader] = Future()
        """The model once it can serve, or why it cannot: a NotLoadable, most likely."""

    def start(self) -> Future[LoadedReader]:
        self._thread.start()
        return self.loaded

    def submit(self, job: Job) -> None:
        """Part of the very next pass, if a slot is free."""
        self._rotation.add(job)
        self._inbox.put(_Arrival())

    def cancel(self, job: Job) -> None:
        """No pass is begun for it any more; harmless for one that is over. Nothing is delivered."""
        self._inbox.put(_Cancel(job))

    def stop(self, timeout_s: float = STOP_S) -> None:
        """What still runs fails with ``engine_lost``, so that it may be asked elsewhere.

        A model that is still loading is not waited for: the thread ends with the process.
        """
        self._inbox.put(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def waiting_of(self, key: KeyId) -> int:
        """Requests of a key that no pass has begun with."""
        return self._rotation.queue.waiting_of(key)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            steps=self._steps,
            last_step_at=self._last_step_at,
            has_work=bool(self._reading) or self._queued_tokens > 0 or not self._inbox.empty(),
            queued_tokens=self._queued_tokens,
            memory_bytes=mx.get_active_memory() + mx.get_cache_memory(),
        )

    def _run(self) -> None:
        try:
            self._loaded = loading.load(self._source, self._kind)
            self._warm()
        except BaseException as failure:  # noqa: BLE001 - handed to whoever waits for the model
            self.loaded.set_exception(failure)
            return
        self.loaded.set_result(self._loaded)
        while self._obey():
            self._pass()
        stopping = MeshError(Code.ENGINE_LOST, "the engine is stopping")
        for job in [*self._rotation, *(place.job for place in self._reading)]:
            self._give_up(job, stopping)

    def _warm(self) -> None:
        """Two passes of nobody's, so that none waits for kernels and the pace is known."""
        width = min(WARM_TOKENS, self._loaded.longest)
        blank = Job(request=RequestId("warm"), rows=[Row([0] * width, [0] * width)])
        for _ in range(2):
            self._read([Place(blank, 0)])

    def _obey(self) -> bool:
        """Carries out all orders there are; waits for one when there is nothing else to do.

        False when one of them was to end.
        """
        while not self._is_stopping and not (self._inbox.empty() and self._rotation.has_work):
            self._carry_out(self._inbox.get())
        # A step clock that stood because nothing was to do has not stalled.
        self._last_step_at = time.monotonic()
        return not self._is_stopping

    def _carry_out(self, order: _Order) -> None:
        match order:
            case _Arrival():
                pass  # It is in the queue already.
            case _Cancel(job=job):
                job.is_dropped = True
                self._rotation.drop(job)
            case _Stop():
                self._is_stopping = True
        self._queued_tokens = self._rotation.tokens

    def _pass(self) -> None:
        for job in self._rotation.expired(time.monotonic()):
            self._give_up(job, too_late())
        if not self._rotation.has_work:
            return
        self._reading = self._rotation.next(self._pace.tokens)
        self._queued_tokens = self._rotation.tokens
        try:
            numbers = self._read(self._reading)
        except Exception as failure:
            log.exception("a pass failed; all requests with a row in it are given up")
            error = self._mishaps.of(failure, "reading")
            for job in {place.job for place in self._reading}:
                self._give_up(job, error)
            self._prove()
        else:
            if numbers is not None:
                self._hand_out(self._reading, numbers)
        if not self._is_stopping:
            self._reading = []

    def _prove(self) -> None:
        """That it was the requests'. Else the process ends, and its agent starts another."""
        try:
            self._mishaps.prove(self._warm)
        except Exception:
            log.exception("the engine is of no use any more and ends, to be started anew")
            self._end(os.EX_SOFTWARE)

    def _read(self, places: list[Place]) -> Numbers | None:
        """What the rows came to; None when nobody waits for any of them any more.

        A pass that is longer than one should be ends stage by stage, so that the step
        clock goes on and a cancel is heard.
        """
        page = Page.of([place.job.rows[place.row] for place in places])
        size, budget = page.ids.size, self._pace.tokens
        began = time.monotonic()
        stage = None
        for stage in self._loaded.reader.stages(page, max(1, budget // len(places))):
            if size > budget:
                mx.eval(stage)
                self._tick()
                if self._is_void(places):
                    return None
        numbers = np.array(stage)
        self._tick()
        self._pace.learn(size, time.monotonic() - began)
        if mx.get_cache_memory() > HOARD_BYTES:
            mx.clear_cache()
        return numbers

    def _tick(self) -> None:
        self._steps += 1
        self._last_step_at = time.monotonic()

    def _is_void(self, places: list[Place]) -> bool:
        while not self._inbox.empty():
            self._carry_out(self._inbox.get())
        return self._is_stopping or all(place.job.is_dropped for place in places)

    def _hand_out(self, places: list[Place], numbers: Numbers) -> None:
        for place, of_row in zip(places, numbers, strict=True):
            place.job.numbers[place.row] = of_row
        for job in {place.job for place in places}:
            if job.is_done and not job.is_dropped:
                self._deliver(job, None)

    def _give_up(self, job: Job, why: MeshError) -> None:
        self._rotation.drop(job)
        if not job.is_dropped:
            job.is_dropped = True
            self._deliver(job, why)
