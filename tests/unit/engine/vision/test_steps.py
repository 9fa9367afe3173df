"""What a vision tower's work is to everybody else in the batch."""

import threading
import time

from services.runner.engine.batching.execution import Execution
from services.runner.engine.batching.loop import ModelThread
from tests.unit.engine.asking import ask, prompt
from tests.unit.engine.vision.pictures import Shown, chat, png


def test_one_picture_is_looked_at_between_two_decode_steps(seeing, drive, monkeypatch):
    shown = Shown(seeing("smolvlm").model)
    pictures = [png(seed) for seed in range(10, 14)]
    shown.show(*pictures)
    model, looked = shown.model.model, []
    real = type(model).look

    def look(self, picture):
        looked.append(len(driver.tokens("stream")))
        real(self, picture)

    monkeypatch.setattr(type(model), "look", look)
    driver = drive(shown.model)
    driver.batch.add(ask("stream", prompt(8), 60))
    while not driver.tokens("stream"):
        driver.step()
    driver.run(shown.ask("seeing", chat(*pictures)))
    assert len(looked) == len(set(looked)) == 4
    assert len(driver.tokens("seeing")) == 12


def test_a_picture_is_looked_at_once(seeing, drive, monkeypatch):
    shown = Shown(seeing("smolvlm").model)
    shown.show(png(20))
    looked = []
    real = type(shown.model.model).look
    monkeypatch.setattr(
        type(shown.model.model), "look", lambda *args: (looked.append(1), real(*args))
    )
    driver = drive(shown.model)
    driver.run(*(shown.ask(f"r{i}", chat("x" * i, png(20), png(20))) for i in range(3)))
    assert len(looked) == 1


def test_a_tower_that_fails_costs_its_own_request_only(seeing, drive, monkeypatch):
    shown = Shown(seeing("smolvlm").model)
    shown.show(png(30))

    def look(self, picture):
        raise RuntimeError("a kernel is missing")

    monkeypatch.setattr(type(shown.model.model), "look", look)
    driver = drive(shown.model)
    driver.batch.warm()
    asked = shown.ask("seeing", chat(png(30)))
    beside = ask("beside", prompt(len(asked.prompt) + 1), 20)
    driver.run(asked, beside)
    assert driver.last("seeing").code == "internal_error"
    assert len(driver.tokens("beside")) == 20


def test_an_engine_that_looks_long_is_not_taken_for_stuck(folder_of, tmp_path, monkeypatch):
    ended, frames = threading.Event(), []

    def deliver(more):
        frames.extend(more)
        if any(type(frame).__name__ in ("End", "Failed") for _, frame in more):
            ended.set()

    thread = ModelThread(lambda: Execution.of(str(folder_of("smolvlm")), tmp_path), deliver)
    loaded = thread.start().result(30)
    begun, may_end = threading.Event(), threading.Event()
    real = type(loaded.model).look

    def look(self, picture):
        begun.set()
        assert may_end.wait(10)
        real(self, picture)

    monkeypatch.setattr(type(loaded.model), "look", look)
    shown = Shown(loaded)
    shown.show(png(40))
    thread.submit(shown.ask("a", chat(png(40))))
    assert begun.wait(10)
    now = time.monotonic()
    snapshot = thread.snapshot()
    assert snapshot.has_work
    assert snapshot.last_step_at >= now
    may_end.set()
    assert ended.wait(10)
    thread.stop(10)
