import os
import threading
import time

import pytest

from proto.format import Regex
from proto.frames import Delta, End, Failed, Progress
from proto.prompt import Chat, Turn
from services.runner.engine.batching import execution
from services.runner.engine.batching.batch import PATIENCE_S, Batch
from services.runner.engine.batching.decoding import Decoder
from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.loop import ModelThread
from services.runner.engine.not_loadable import NotLoadable
from tests.tiny import make_tiny
from tests.unit.engine.asking import ask, prompt, receive


class Reader:
    """The other side of a thread: collects frames, and waits for them."""

    def __init__(self, source, home, **settings):
        self.frames = []
        self.ended = []
        self._changed = threading.Condition()
        self.thread = ModelThread(
            lambda: Execution.of(str(source), home), self._take, end=self._end, **settings
        )

    def _take(self, frames):
        with self._changed:
            self.frames += frames
            self._changed.notify_all()

    def _end(self, status):
        with self._changed:
            self.ended.append(status)
            self._changed.notify_all()

    def until(self, is_enough):
        with self._changed:
            assert self._changed.wait_for(lambda: any(is_enough(*f) for f in self.frames), 10)


@pytest.fixture
def reader(tmp_path):
    reader = Reader(make_tiny(tmp_path / "tiny"), tmp_path, slots=2)
    reader.thread.start().result(20)
    yield reader
    reader.thread.stop(10)


def test_a_request_goes_in_and_its_frames_come_out(reader):
    reader.thread.submit(ask("a", prompt(10), 5))
    reader.until(lambda request, frame: isinstance(frame, End))
    assert sum(isinstance(frame, Delta) for _, frame in reader.frames) == 5
    state = reader.thread.snapshot()
    assert state.generated_tokens == 5
    assert (state.running, state.queued, state.has_work) == (0, 0, False)
    assert state.cache.tokens == 15
    assert state.steps >= 5
    assert state.memory_bytes > 0


def test_formats_are_kept_on_the_models_own_thread(reader):
    model = reader.thread.loaded.result()
    chat = Chat(turns=(Turn(role="user", content="Hi"),))
    for name in ("a", "b"):
        reader.thread.submit(receive(model, name, chat, format=Regex(pattern="ab{3}")))
    for name in ("a", "b"):
        reader.until(lambda request, frame, name=name: request == name and isinstance(frame, End))
    said = "".join(frame.text for _, frame in reader.frames if isinstance(frame, Delta))
    assert sorted(said) == sorted("abbbabbb")


def test_an_idle_thread_takes_no_steps(reader):
    steps = reader.thread.snapshot().steps
    time.sleep(0.1)
    assert reader.thread.snapshot().steps == steps


def test_who_comes_with_the_first_is_read_with_it(reader, monkeypatch):
    monkeypatch.setattr(Batch, "patience_s", 0.3)
    company = threading.Timer(0.05, reader.thread.submit, [ask("b", prompt(10, seed=1), 1)])
    company.start()
    reader.thread.submit(ask("a", prompt(10), 1))
    reader.until(lambda request, frame: request == "b" and isinstance(frame, End))
    company.join()

    assert [(request, type(frame)) for request, frame in reader.frames[:2]] == [
        ("a", Progress),
        ("b", Progress),
    ]


def test_a_lone_request_waits_for_company_only_a_little_of_its_own_time(reader):
    batch = reader.thread._batch

    batch.add(ask("short", prompt(2), 1))
    short_s = batch.patience_s
    batch.add(ask("long", prompt(2000), 1))

    assert 0 < short_s < batch.patience_s <= PATIENCE_S


def test_who_has_to_wait_for_memory_is_known_before_it_is_submitted(tmp_path):
    reader = Reader(make_tiny(tmp_path / "tiny"), tmp_path, kv=KvRoom(tokens=300))
    reader.thread.start().result(20)
    small, large = ask("small", prompt(20), 20), ask("large", prompt(200), 20)
    assert not reader.thread.lacks_memory_for(large)
    reader.thread.submit(ask("a", prompt(30), 200))
    reader.until(lambda request, frame: isinstance(frame, Delta))

    assert reader.thread.lacks_memory_for(large)
    assert not reader.thread.lacks_memory_for(small)
    reader.thread.stop(10)


def test_a_cancel_reaches_a_running_request(reader):
    reader.thread.submit(ask("a", prompt(10), 5000))
    reader.until(lambda request, frame: isinstance(frame, Delta))
    reader.thread.cancel("a")
    reader.until(lambda request, frame: isinstance(frame, Failed))
    assert reader.frames[-1][1].code == "cancelled"


def test_stopping_fails_what_runs_so_that_it_goes_on_elsewhere(reader):
    reader.thread.submit(ask("a", prompt(10), 5000))
    reader.until(lambda request, frame: isinstance(frame, Delta))
    reader.thread.stop(10)
    assert reader.frames[-1][1].code == "engine_lost"


def test_a_model_that_cannot_be_loaded_is_told_to_who_waits(tmp_path):
    reader = Reader(tmp_path / "nothing", tmp_path)
    with pytest.raises(NotLoadable):
        reader.thread.start().result(10)


FULL = RuntimeError("[malloc] Unable to allocate 8 bytes.")


def failing(monkeypatch, owner, name, failure, times):
    """The first so many calls fail."""
    real, left = getattr(owner, name), [times]

    def act(*arguments, **named):
        if left[0]:
            left[0] -= 1
            raise failure
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, act)


@pytest.mark.parametrize(
    ("owner", "name"), [(Decoder, "step"), (Batch, "step"), (execution, "read")]
)
@pytest.mark.parametrize(
    ("failure", "code"), [(FULL, "insufficient_memory"), (KeyError("x"), "internal_error")]
)
def test_a_step_that_fails_fails_its_requests_and_nothing_else(
    reader, monkeypatch, owner, name, failure, code
):
    failing(monkeypatch, owner, name, failure, 1)
    reader.thread.submit(ask("a", prompt(10), 50))
    reader.until(lambda request, frame: request == "a" and isinstance(frame, Failed))
    failed = next(frame for _, frame in reader.frames if isinstance(frame, Failed))
    assert failed.code == code

    reader.thread.submit(ask("b", prompt(10), 5))
    reader.until(lambda request, frame: request == "b" and isinstance(frame, End))
    assert reader.ended == []


def test_an_engine_in_which_nothing_works_any_more_ends(reader, monkeypatch):
    failing(monkeypatch, execution, "read", KeyError("broken"), 10)
    reader.thread.submit(ask("a", prompt(10), 50))
    reader.until(lambda request, frame: request == "a" and isinstance(frame, Failed))
    with reader._changed:
        assert reader._changed.wait_for(lambda: reader.ended, 10)
    assert reader.ended == [os.EX_SOFTWARE]
