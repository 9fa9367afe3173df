"""The thread that runs the passes, with a real tiny model."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from proto.errors import Code, MeshError
from proto.ids import RequestId
from services.runner.engine.embedding.loading import LoadedReader
from services.runner.engine.embedding.loop import ReaderThread
from services.runner.engine.embedding.passes import Job
from services.runner.engine.embedding.row import Row
from services.runner.engine.loading import Source
from services.runner.engine.not_loadable import NotLoadable
from tests import tiny_readers
from tests.unit.engine.embedding.reading import TEXTS, vectors


class Answers:
    """What the thread delivered; a test waits for it."""

    def __init__(self) -> None:
        self.by_request: dict[str, MeshError | None] = {}
        self._news = threading.Condition()

    def __call__(self, job: Job, failed: MeshError | None) -> None:
        with self._news:
            assert job.request not in self.by_request, "delivered once"
            self.by_request[job.request] = failed
            self._news.notify_all()

    def wait_for(self, *requests: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: set(requests) <= set(self.by_request), 10)


class Running:
    def __init__(self, source: Source) -> None:
        self.answers = Answers()
        self.ended: list[int] = []
        self.thread = ReaderThread(source, "embedder", self.answers, slots=4, end=self.ended.append)
        self.model: LoadedReader = self.thread.start().result(20)

    def job(self, name: str, texts=TEXTS, **rest) -> Job:
        return Job(RequestId(name), self.model.texts.of(texts), **rest)

    def submit(self, *jobs: Job) -> None:
        for job in jobs:
            self.thread.submit(job)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    folder = tiny_readers.make_encoder(tmp_path_factory.mktemp("loop") / "m", "bert", "mean")
    return Source(folder, "m", ())


@pytest.fixture
def run(source) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(source))
        return started[-1]

    yield start
    for running in started:
        running.thread.stop()


def test_jobs_side_by_side_come_to_what_each_comes_to_alone(run):
    running = run()
    jobs = [running.job(f"{n}", [*TEXTS, "m " * n]) for n in range(12)]

    running.submit(*jobs)
    running.answers.wait_for(*(job.request for job in jobs))

    assert set(running.answers.by_request.values()) == {None}
    for n, job in enumerate(jobs):
        alone = vectors(running.model, [*TEXTS, "m " * n])
        assert np.stack(job.numbers) == pytest.approx(alone, abs=1e-5)


def test_a_job_whose_deadline_has_passed_is_refused_and_not_begun(run):
    running = run()
    late = running.job("late", expires_at=time.monotonic() - 1)

    running.submit(late, running.job("next"))
    running.answers.wait_for("late", "next")

    refused = running.answers.by_request["late"]
    assert refused is not None
    assert refused.code is Code.DEADLINE
    assert late.numbers == [None] * len(TEXTS)
    assert running.answers.by_request["next"] is None


def test_a_cancelled_job_is_not_begun_and_nothing_is_said_of_it(run, monkeypatch):
    running = run()
    gate, reached = threading.Event(), threading.Event()
    read = running.model.reader.stages

    def stages(page, chunk):
        reached.set()
        assert gate.wait(10)
        yield from read(page, chunk)

    monkeypatch.setattr(running.model.reader, "stages", stages)
    running.submit(running.job("first"))
    assert reached.wait(10)
    gone = running.job("gone")
    running.submit(gone)
    running.thread.cancel(gone)
    running.submit(running.job("last"))
    gate.set()
    running.answers.wait_for("first", "last")

    assert "gone" not in running.answers.by_request
    assert gone.numbers == [None] * len(TEXTS)


def test_a_long_pass_is_left_in_the_middle_when_nobody_waits_for_it(run, monkeypatch):
    running = run()
    reached, gate, stages_read = threading.Event(), threading.Event(), []
    read = running.model.reader.stages

    def stages(page, chunk):
        for stage in read(page, chunk):
            stages_read.append(1)
            reached.set()
            assert gate.wait(10)
            yield stage

    monkeypatch.setattr(running.model.reader, "stages", stages)
    monkeypatch.setattr(type(running.thread._pace), "tokens", 2)
    long = running.job("long", ["word " * 12])
    running.submit(long)
    assert reached.wait(10)
    running.thread.cancel(long)
    gate.set()
    running.submit(running.job("next", ["x"]))
    running.answers.wait_for("next")

    assert len(stages_read) < 2 * (tiny_readers.LAYERS + 1)
    assert "long" not in running.answers.by_request


def test_a_pass_that_fails_fails_its_requests_and_the_next_is_served(run, monkeypatch):
    running = run()

    read, fails = running.model.reader.stages, [True]

    def broken(page, chunk):
        if fails:
            fails.clear()
            raise RuntimeError("out of memory")
        yield from read(page, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(running.model.reader, "stages", broken)
        running.submit(running.job("failed"))
        running.answers.wait_for("failed")
    running.submit(running.job("served"))
    running.answers.wait_for("served")

    failed = running.answers.by_request["failed"]
    assert failed is not None
    assert failed.code is Code.NO_MEMORY
    assert running.ended == []
    assert running.answers.by_request["served"] is None


def test_the_step_clock_goes_on_with_every_pass_and_rests_without_stalling(run):
    running = run()
    before = running.thread.snapshot()
    running.submit(running.job("a"))
    running.answers.wait_for("a")

    after = running.thread.snapshot()
    assert after.steps > before.steps
    assert after.queued_tokens == 0


def test_what_still_runs_when_it_stops_may_go_on_elsewhere(run, monkeypatch):
    running = run()
    gate, reached = threading.Event(), threading.Event()
    read = running.model.reader.stages

    def stages(page, chunk):
        reached.set()
        assert gate.wait(10)
        yield from read(page, chunk)

    monkeypatch.setattr(running.model.reader, "stages", stages)
    running.submit(running.job("first"))
    assert reached.wait(10)
    running.submit(running.job("waiting"))
    threading.Timer(0.05, gate.set).start()
    running.thread.stop(timeout_s=10)

    running.answers.wait_for("waiting")
    stopped = running.answers.by_request["waiting"]
    assert stopped is not None
    assert stopped.code is Code.ENGINE_LOST


def test_why_a_model_does_not_load_is_told(tmp_path):
    folder = tiny_readers.make_encoder(tmp_path / "m", "bert", "mean")
    (folder / "model.safetensors").unlink()
    thread = ReaderThread(Source(folder, "m", ()), "embedder", Answers(), slots=4)

    with pytest.raises(NotLoadable):
        thread.start().result(10)


def test_rows_of_one_token_are_read(run):
    running = run()
    job = Job(RequestId("a"), [Row([5], [0])])

    running.submit(job)
    running.answers.wait_for("a")

    assert np.linalg.norm(job.numbers[0]) == pytest.approx(1, abs=1e-5)
