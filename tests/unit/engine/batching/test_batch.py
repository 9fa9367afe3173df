import math
import random

import mlx.core as mx
import pytest

from proto.frames import Delta, End, Failed, Progress
from proto.generation import Sampling
from services.runner.engine.batching import chunk, pace
from services.runner.engine.batching.batch import Batch
from tests.unit.engine.asking import ask, prompt


def solo(drive, sequence):
    driver = drive()
    driver.run(sequence)
    return driver.tokens(sequence.request)


def test_32_answers_side_by_side_equal_the_same_answers_alone(drive):
    rng = random.Random(1)
    asked = {f"r{i}": (prompt(rng.randrange(1, 90), i), rng.randrange(2, 30)) for i in range(32)}
    driver = drive(slots=24)
    for name, (tokens, length) in asked.items():
        driver.batch.add(ask(name, tokens, length))
        if rng.random() < 0.5:
            driver.step()
    driver.run()
    for name, (tokens, length) in asked.items():
        assert driver.tokens(name) == solo(drive, ask("solo", tokens, length))


def test_frames_are_numbered_from_zero_and_end_with_the_counts(drive):
    driver = drive()
    driver.run(ask("a", prompt(40), 7, epoch=3))
    frames = driver.frames["a"]
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert {frame.epoch for frame in frames} == {3}
    assert frames[0] == Progress(3, 0, 0, 40, 0)
    end = frames[-1]
    assert isinstance(end, End)
    assert end.reason == "length"
    usage = end.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (40, 7, 0)
    assert [len(d.tokens) for d in driver.deltas("a")] == [1] * 7


def test_text_is_the_tokens_decoded(drive, tiny):
    driver = drive()
    driver.run(ask("a", prompt(9), 60))
    assert driver.text("a") == tiny.tokenizer.decode(driver.tokens("a"))


def test_an_eos_token_ends_the_answer_unseen_and_uncounted(drive):
    driver = drive()
    plain = solo(drive, ask("a", prompt(12), 6))
    ends = Sampling(temperature=0, logit_bias={2: 1000.0})
    driver.run(ask("first", prompt(12), 6, sampling=ends), ask("other", prompt(12), 6))
    end = driver.last("first")
    assert isinstance(end, End)
    assert end.reason == "stop"
    assert end.usage.completion_tokens == 0
    assert driver.deltas("first") == []
    assert driver.tokens("other") == plain


def test_a_chunked_prompt_answers_as_one_read_at_once(drive, monkeypatch):
    once = solo(drive, ask("a", prompt(700), 12))
    monkeypatch.setattr(pace, "LARGEST", 64)
    driver = drive()
    driver.run(ask("a", prompt(700), 12))
    assert driver.tokens("a") == once


def test_a_long_prompts_first_token_is_the_same_by_either_way_to_its_logits(drive, monkeypatch):
    monkeypatch.setattr(chunk, "HEAD_TOKENS", 1000)
    one_pass = solo(drive, ask("a", prompt(100), 12))
    monkeypatch.setattr(chunk, "HEAD_TOKENS", 0)
    driver = drive()
    driver.run(*(ask(f"r{n}", prompt(n, n), 12) for n in (100, 99, 90)), ask("a", prompt(100), 12))
    assert driver.tokens("a") == one_pass
    assert driver.tokens("r90") == solo(drive, ask("b", prompt(90, 90), 12))


def test_a_seed_gives_the_same_answer_alone_and_in_company(drive):
    seeded = Sampling(temperature=1.3, seed=7, top_p=0.9)
    alone = solo(drive, ask("a", prompt(10), 25, sampling=seeded))
    driver = drive()
    company = [ask(f"r{i}", prompt(9 + i, i), 25, sampling=Sampling()) for i in range(5)]
    driver.run(*company, ask("a", prompt(10), 25, sampling=seeded))
    assert driver.tokens("a") == alone
    other = Sampling(temperature=1.3, seed=8, top_p=0.9)
    assert solo(drive, ask("a", prompt(10), 25, sampling=other)) != alone


def test_a_stop_string_over_token_borders_never_shows(drive):
    driver = drive()
    driver.run(ask("whole", prompt(14), 40))
    whole = driver.text("whole")
    deltas = [d.text for d in driver.deltas("whole")]
    at = len("".join(deltas[:20])) - 1
    stop = whole[at : at + 3]
    driver.run(ask("cut", prompt(14), 40, stop=("never to be met", stop)))
    end = driver.last("cut")
    assert isinstance(end, End)
    assert (end.reason, end.stop) == ("stop_sequence", stop)
    assert driver.text("cut") == whole[: whole.index(stop)]


def test_what_may_be_the_start_of_a_stop_is_given_back_at_the_end(drive):
    driver = drive()
    driver.run(ask("whole", prompt(14), 20))
    whole = driver.text("whole")
    driver.run(ask("held", prompt(14), 20, stop=(whole[-2:] + "\0never",)))
    assert driver.text("held") == whole


def test_logprobs_are_those_of_the_model(drive, tiny):
    driver = drive()
    driver.run(ask("a", prompt(10), 4, logprobs=5))
    tokens = driver.tokens("a")
    expected = tiny.model(mx.array([prompt(10) + tokens]))[0]
    expected = expected - mx.logsumexp(expected, axis=-1, keepdims=True)
    for i, delta in enumerate(driver.deltas("a")):
        (position,) = delta.logprobs
        assert position.chosen.token == tokens[i]
        assert position.chosen == position.top[0]
        assert position.chosen.logprob == pytest.approx(expected[9 + i, tokens[i]].item(), abs=1e-3)
        values = [entry.logprob for entry in position.top]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1 + 1e-5
    assert b"".join(d.logprobs[0].chosen.piece for d in driver.deltas("a")).decode(
        errors="replace"
    ) == driver.text("a")


def test_all_logprobs_together_are_a_distribution(drive):
    driver = drive()
    driver.run(ask("a", prompt(10), 2, logprobs=512))
    for delta in driver.deltas("a"):
        top = delta.logprobs[0].top
        assert len(top) == 512
        assert sum(math.exp(entry.logprob) for entry in top) == pytest.approx(1, abs=1e-4)


def test_a_frequency_penalty_counts_the_answer_and_not_the_prompt(drive):
    barred = Sampling(temperature=0, presence_penalty=1e6)
    first = solo(drive, ask("a", prompt(30), 1))[0]
    with_it = [*prompt(30)[:-5], first, *prompt(30)[-4:]]
    expected = solo(drive, ask("a", with_it, 1))[0]
    assert solo(drive, ask("a", with_it, 1, sampling=barred))[0] == expected
    answer = solo(drive, ask("a", prompt(30), 60, sampling=barred))
    assert len(set(answer)) == 60


def test_a_repetition_penalty_counts_the_prompt_too(drive):
    tokens = prompt(20)
    winner = solo(drive, ask("a", tokens, 1))[0]
    harsh = Sampling(temperature=0, repetition_penalty=1e6)
    repeated = solo(drive, ask("a", [winner, *tokens[1:]], 1, sampling=harsh))
    assert repeated[0] not in [winner, *tokens[1:]]


def test_a_logit_bias_forces_and_a_strange_token_is_refused(drive):
    driver = drive()
    forced = Sampling(temperature=0, logit_bias={77: 1e6})
    strange = Sampling(temperature=0, logit_bias={512: 1.0})
    driver.run(ask("a", prompt(5), 4, sampling=forced), ask("b", prompt(5), 4, sampling=strange))
    assert driver.tokens("a") == [77] * 4
    assert driver.last("b").code == "invalid_request"
    assert "512" in driver.last("b").message


def test_cancelling_frees_the_slot_whatever_the_request_was_doing(drive, monkeypatch):
    monkeypatch.setattr(pace, "LARGEST", 32)
    driver = drive(slots=2)
    for name, length in {"decoding": 8, "reading": 600, "waiting": 8}.items():
        driver.batch.add(ask(name, prompt(length, length), 200))
    while not driver.tokens("decoding"):
        driver.step()
    assert (driver.batch.running, driver.batch.queued) == (2, 1)
    assert driver.batch.queue.place_of("waiting") == 0
    for name in ("decoding", "reading", "waiting"):
        driver.batch.cancel(name)
        driver.step()
        assert driver.last(name).code == "cancelled"
    assert (driver.batch.running, driver.batch.queued, driver.batch.has_work) == (0, 0, False)


def test_a_cancel_of_an_earlier_attempt_spares_the_later(drive):
    driver = drive()
    for epoch in (0, 1):
        driver.batch.add(ask("a", prompt(20), 5, epoch=epoch))
    driver.batch.cancel("a", epoch=0)
    driver.run()

    assert [type(f) for f in driver.frames["a"] if f.epoch == 0] == [Failed]
    assert isinstance(driver.last("a"), End)
    assert driver.last("a").epoch == 1


def test_a_cancelled_prompts_finished_chunks_are_kept(drive, monkeypatch):
    monkeypatch.setattr(pace, "LARGEST", 32)
    driver = drive()
    driver.batch.add(ask("a", prompt(300)))
    driver.step()
    driver.step()
    read = 300 - driver.batch.queued_tokens
    assert read >= 2 * pace.SMALLEST
    driver.batch.cancel("a")
    driver.run(ask("b", prompt(300), 5))
    # Unwarmed, the first chunk is a guess; whatever it was, both chunks are found again.
    assert driver.last("b").usage.cached_tokens == read
    assert driver.tokens("b") == solo(drive, ask("c", prompt(300), 5))


def test_a_request_past_its_deadline_fails_and_the_others_go_on(drive):
    now = [100.0]
    driver = drive(clock=lambda: now[0])
    driver.batch.add(ask("late", prompt(8), 500, expires_at=101.0))
    driver.batch.add(ask("other", prompt(9), 30))
    for _ in range(5):
        driver.step()
    now[0] = 101.5
    driver.step()
    assert driver.last("late").code == "deadline_exceeded"
    driver.run()
    assert isinstance(driver.last("other"), End)


def test_waiting_requests_are_admitted_in_order_of_arrival(drive):
    driver = drive(slots=1)
    driver.run(*(ask(f"r{i}", prompt(8, i), 3) for i in range(5)))
    admitted = list(driver.frames)
    assert admitted == [f"r{i}" for i in range(5)]


def test_a_short_prompt_overtakes_a_long_one_and_the_long_one_still_ends(drive, monkeypatch):
    monkeypatch.setattr(pace, "LARGEST", 64)
    driver = drive(slots=8)
    driver.batch.add(ask("long", prompt(1000), 3))
    driver.step()
    driver.batch.add(ask("short", prompt(20, 1), 3))
    steps = 0
    while not driver.tokens("short"):
        driver.step()
        steps += 1
    assert steps <= 2
    assert not driver.tokens("long")
    driver.run()
    assert isinstance(driver.last("long"), End)


def test_a_broken_decode_step_fails_its_requests_and_the_engine_serves_on(drive, monkeypatch):
    driver = drive()
    driver.batch.add(ask("a", prompt(8), 50))
    driver.step()
    driver.step()

    def broken() -> None:
        raise RuntimeError("a kernel is missing")

    with monkeypatch.context() as patch:
        patch.setattr(driver.batch._running.decoder, "step", broken)
        driver.step()
    assert driver.last("a").code == "internal_error"
    driver.run(ask("b", prompt(8), 5))
    assert isinstance(driver.last("b"), End)


def test_one_requests_broken_sampler_leaves_the_others_alone(drive, monkeypatch):
    real = Batch._equip

    def equip(batch, sequence):
        real(batch, sequence)
        if sequence.request == "broken":
            sequence.processors = [lambda tokens, logits: 1 / 0]

    monkeypatch.setattr(Batch, "_equip", equip)
    driver = drive()
    driver.run(ask("broken", prompt(8), 5), ask("fine", prompt(9, 1), 5))
    assert isinstance(driver.last("broken"), Failed)
    assert driver.tokens("fine") == solo(drive, ask("a", prompt(9, 1), 5))


def test_prompts_of_a_like_length_are_read_together(drive):
    driver = drive()
    driver.batch.warm()
    for i in range(16):
        driver.batch.add(ask(f"r{i}", prompt(20 + i % 3, i), 3))
    driver.step()
    assert sum(isinstance(frames[-1], Delta) for frames in driver.frames.values()) >= 8
