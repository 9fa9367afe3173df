"""A prompt of a key that has next to nothing of the engine is not cut up by others' answers."""

import pytest

from proto.ids import KeyId
from services.runner.engine.batching import pace
from tests.unit.engine.asking import ask, prompt

CHUNK = 16


@pytest.fixture
def flooded(drive, monkeypatch):
    """Ten answers of one key are under way; a chunk holds 16 tokens at the most."""
    monkeypatch.setattr(pace, "LARGEST", CHUNK)
    monkeypatch.setattr(pace, "OWED_S", 10.0)
    monkeypatch.setattr(pace, "IDLE_S", 10.0)
    driver = drive(slots=16)
    flood = [ask(f"f{i}", prompt(8, i), 500, key=KeyId("flood")) for i in range(10)]
    for each in flood:
        driver.batch.add(each)
    while not all(driver.tokens(each.request) for each in flood):
        driver.step()
    return driver


def steps_until_it_answers(driver, key):
    driver.batch.add(ask("late", prompt(10 * CHUNK, 99), 3, key=KeyId(key)))
    steps = 0
    while not driver.tokens("late"):
        driver.step()
        steps += 1
    return steps


def test_a_prompt_that_is_owed_is_read_in_one_step_however_many_chunks_it_has(flooded):
    before = len(flooded.tokens("f0"))

    assert steps_until_it_answers(flooded, "other") == 1
    assert len(flooded.tokens("f0")) == before + 1


def test_a_prompt_of_the_floods_own_key_takes_a_chunk_a_step(flooded):
    assert steps_until_it_answers(flooded, "flood") == 10
