"""Whose client does not read gives up slot and memory, and goes on later as if nothing had been."""

import pytest

from proto.frames import End, Failed
from proto.generation import Sampling
from proto.ids import KeyId
from tests.unit.engine.asking import ask, prompt

GREEDY = Sampling(temperature=0)
SEEDED = Sampling(temperature=1.2, seed=5, top_p=0.9)


def start(driver, *sequences):
    for each in sequences:
        driver.batch.add(each)
    while not all(driver.tokens(s.request) for s in sequences):
        driver.step()
    driver.step()


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED])
@pytest.mark.parametrize("logprobs", [None, 3])
def test_an_answer_that_was_parked_is_the_same(drive, sampling, logprobs):
    def asked(name):
        return ask(name, prompt(40, 1), 30, sampling=sampling, logprobs=logprobs)

    alone, driver = drive(), drive()
    alone.run(asked("r"))
    driver.batch.add(asked("r"))
    while driver.batch.has_work or driver.batch.parked:
        driver.step()
        driver.batch.hold("r")
        driver.step()
        driver.batch.go_on("r")

    assert driver.text("r") == alone.text("r")
    assert driver.tokens("r") == alone.tokens("r")
    assert driver.last("r").usage == alone.last("r").usage
    for ours, theirs in zip(driver.deltas("r"), alone.deltas("r"), strict=True):
        for mine, wanted in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert mine.chosen.token == wanted.chosen.token
            assert mine.chosen.logprob == pytest.approx(wanted.chosen.logprob, abs=1e-3)


def test_its_slot_and_its_memory_are_another_s(drive):
    driver = drive(slots=1)
    start(driver, ask("still", prompt(20), 40))
    held = driver.batch.kv_used_tokens
    driver.batch.add(ask("next", prompt(30, 1), 5))
    driver.batch.hold("still")
    driver.step()

    assert driver.batch.parked == 1
    assert driver.batch.kv_used_tokens < held
    driver.run()
    assert isinstance(driver.last("next"), End)
    assert len(driver.tokens("still")) < 40
    driver.batch.go_on("still")
    driver.run()
    assert len(driver.tokens("still")) == 40


def test_the_engine_rests_while_all_are_parked(drive):
    driver = drive()
    start(driver, ask("a", prompt(20), 40), ask("b", prompt(20, 1), 40))
    driver.batch.hold("a")
    driver.batch.hold("b")
    driver.step()
    driver.step()

    assert not driver.batch.has_work
    assert (driver.batch.running, driver.batch.queued, driver.batch.parked) == (0, 0, 2)


def test_who_waits_for_a_slot_is_parked_there(drive):
    driver = drive(slots=1)
    start(driver, ask("runs", prompt(20), 40))
    driver.batch.add(ask("waits", prompt(20, 1), 5))
    driver.batch.hold("waits")
    driver.run()

    assert not driver.frames.get("waits")
    driver.batch.go_on("waits")
    driver.run()
    assert isinstance(driver.last("waits"), End)


def test_a_parked_request_can_be_cancelled(drive):
    driver = drive()
    start(driver, ask("r", prompt(20), 40, key=KeyId("k")))
    driver.batch.hold("r")
    driver.step()
    driver.batch.cancel("r")
    driver.run()

    assert driver.last("r").code == "cancelled"
    assert (driver.batch.parked, driver.batch.has_work) == (0, False)
    driver.batch.go_on("r")  # Its hold runs out only now.
    assert not driver.batch.has_work


def test_a_parked_request_expires(drive):
    now = [100.0]
    driver = drive(clock=lambda: now[0])
    start(driver, ask("r", prompt(20), 900, expires_at=200.0))
    driver.batch.hold("r")
    driver.step()
    now[0] = 201.0
    driver.step()

    assert isinstance(driver.last("r"), Failed)
    assert driver.last("r").code == "deadline_exceeded"


def test_a_hold_of_nobody_known_changes_nothing(drive):
    driver = drive()
    driver.batch.hold("long gone")
    driver.run(ask("r", prompt(20), 5))

    assert isinstance(driver.last("r"), End)
    assert driver.batch.parked == 0


def test_a_key_whose_requests_are_parked_has_its_share_back(drive):
    driver = drive(slots=2)
    start(driver, *(ask(f"r{i}", prompt(20, i), 40, key=KeyId("k")) for i in range(2)))
    share = next(iter(driver.batch._running)).share
    for name in ("r0", "r1"):
        driver.batch.hold(name)
    driver.step()
    driver.step()
    assert (share.running, share.open) == (0, 2)
    driver.batch.go_on("r0")
    driver.batch.cancel("r1")
    driver.run()

    assert (share.running, share.open) == (0, 0)
