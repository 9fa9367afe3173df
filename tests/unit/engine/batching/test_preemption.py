"""Who gives way when slots or KV memory are short, and that nobody can tell by the answers."""

import random

import pytest
from mlx_lm.models.cache import RotatingKVCache

from proto.format import Regex
from proto.frames import Delta, End, Failed, Progress
from proto.generation import Sampling
from proto.ids import KeyId
from proto.prompt import Chat, Turn
from services.runner.engine.batching import outbox, sequence
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.queueing import fairness
from tests.unit.engine.asking import ask, prompt, receive

SEEDED = Sampling(temperature=1.2, seed=5, top_p=0.9)
PENALISED = Sampling(temperature=0, presence_penalty=2.0, frequency_penalty=0.5)


def answers(driver, names):
    return {name: (driver.tokens(name), driver.text(name)) for name in names}


@pytest.fixture(autouse=True)
def _little_foresight(monkeypatch):
    """With room kept for all that short answers may become, none of them would ever be paused."""
    monkeypatch.setattr(sequence, "GROWTH", 8)


def pauses(monkeypatch, driver):
    """The requests that had to give way, as it happens."""
    seen, put_back = [], driver.batch.queue.put_back
    monkeypatch.setattr(
        driver.batch.queue, "put_back", lambda s: (seen.append(s.request), put_back(s))
    )
    return seen


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), SEEDED, PENALISED])
@pytest.mark.parametrize("keeps", [1 << 30, 0], ids=["kept", "read again"])
def test_an_answer_that_was_paused_is_the_same(drive, monkeypatch, sampling, keeps):
    rng = random.Random(3)
    asked = {f"r{i}": (prompt(rng.randrange(20, 60), i), rng.randrange(30, 60)) for i in range(6)}
    alone = drive()
    alone.run(*(ask(n, t, most, sampling=sampling, logprobs=3) for n, (t, most) in asked.items()))
    tight = drive(kv=KvRoom(tokens=330), cache_bytes=keeps)
    paused = pauses(monkeypatch, tight)

    tight.run(*(ask(n, t, most, sampling=sampling, logprobs=3) for n, (t, most) in asked.items()))

    assert paused
    assert answers(tight, asked) == answers(alone, asked)
    for name in asked:
        frames = tight.frames[name]
        assert [frame.seq for frame in frames] == list(range(len(frames)))
        assert tight.last(name).usage == alone.last(name).usage
        for ours, theirs in zip(tight.deltas(name), alone.deltas(name), strict=True):
            (mine,), (wanted,) = ours.logprobs, theirs.logprobs
            assert mine.chosen.token == wanted.chosen.token
            assert mine.chosen.logprob == pytest.approx(wanted.chosen.logprob, abs=1e-3)


def test_a_grammar_goes_on_where_it_was(drive, monkeypatch, tiny):
    chat = Chat(turns=(Turn(role="user", content="Hi"),))
    form = Regex(pattern="(ab?c){12}")
    asked = [receive(tiny, f"r{i}", chat, format=form, sampling=SEEDED) for i in range(4)]
    driver = drive(kv=KvRoom(tokens=4 * len(asked[0].prompt) + 36))
    for each in asked:
        each.max_tokens = 60
    paused = pauses(monkeypatch, driver)

    driver.run(*asked)

    alone = drive()
    alone.run(receive(tiny, "r0", chat, format=form, sampling=SEEDED))
    assert paused
    assert {driver.text(s.request) for s in asked} == {alone.text("r0")}


def test_a_model_with_windows_goes_on_unchanged(drive, monkeypatch, tiny):
    def make_cache():
        return [RotatingKVCache(max_size=64) for _ in tiny.model.layers]

    monkeypatch.setattr(tiny.model, "make_cache", make_cache, raising=False)
    asked = {f"r{i}": prompt(70 + i, i) for i in range(4)}
    alone, tight = drive(), drive(kv=KvRoom(tokens=380))
    paused = pauses(monkeypatch, tight)
    alone.run(*(ask(name, tokens, 50) for name, tokens in asked.items()))
    tight.run(*(ask(name, tokens, 50) for name, tokens in asked.items()))

    assert paused
    assert answers(tight, asked) == answers(alone, asked)


def test_bytes_bound_what_runs_as_tokens_do(drive, monkeypatch):
    driver = drive(kv=KvRoom(bytes=700_000))
    paused, admitted = pauses(monkeypatch, driver), []
    monkeypatch.setattr(
        driver.batch, "_begin_reading", _counting(driver.batch._begin_reading, admitted)
    )
    driver.run(*(ask(f"r{i}", prompt(200, i), 150) for i in range(4)))

    assert all(isinstance(driver.last(f"r{i}"), End) for i in range(4))
    assert len(admitted) == 4 + len(paused) < 16


def _counting(begin, admitted):
    return lambda sequence: (admitted.append(sequence.request), begin(sequence))


def test_who_is_paused_for_long_hears_that_it_goes_on(drive, monkeypatch):
    monkeypatch.setattr(outbox, "REASSURE_S", 0.0)
    driver = drive(slots=1)
    start(driver, ask("b", prompt(20), 30, priority="batch"))
    driver.batch.add(ask("i", prompt(20, 1), 5))
    driver.run()

    kinds = [type(frame) for frame in driver.frames["b"]]
    paused_at = kinds.index(Delta) + 2
    assert kinds[paused_at:].count(Progress) >= 4
    assert all(frame.total == 20 for frame in driver.frames["b"] if isinstance(frame, Progress))


def test_long_contexts_wait_for_their_turn(drive):
    driver = drive(kv=KvRoom(tokens=700))
    for i in range(3):
        driver.batch.add(ask(f"r{i}", prompt(500, i), 20))
    most = 0
    while driver.batch.has_work:
        driver.step()
        most = max(most, driver.batch.running)

    assert most == 1
    assert all(isinstance(driver.last(f"r{i}"), End) for i in range(3))


def test_running_requests_never_hold_more_than_there_is(drive):
    driver = drive(kv=KvRoom(tokens=400))
    for i in range(8):
        driver.batch.add(ask(f"r{i}", prompt(50, i), 100))
    while driver.batch.has_work:
        driver.step()
        assert sum(s.length for s in driver.batch._running) <= 400
    assert all(isinstance(driver.last(f"r{i}"), End) for i in range(8))


def test_the_prefix_cache_has_what_running_requests_leave(drive):
    driver = drive(kv=KvRoom(bytes=600_000))
    driver.run(*(ask(f"r{i}", prompt(200, i), 5) for i in range(3)))
    kept = driver.batch.cache_load
    assert 0 < kept.used_bytes <= kept.limit_bytes <= 600_000
    driver.batch.add(ask("big", prompt(400, 9), 40))
    while not driver.tokens("big"):
        driver.step()
    driver.step()
    driver.step()

    now = driver.batch.cache_load
    assert now.used_bytes <= now.limit_bytes == 600_000 - driver.batch._running.held_bytes
    driver.run()
    assert isinstance(driver.last("big"), End)


def start(driver, *sequences):
    for each in sequences:
        driver.batch.add(each)
    while not all(driver.tokens(s.request) for s in sequences):
        driver.step()
    driver.step()


def test_a_flood_gives_way_to_another_keys_request_at_once(drive, monkeypatch):
    driver = drive(slots=4)
    flood = [ask(f"f{i}", prompt(20, i), 60, key=KeyId("flood")) for i in range(12)]
    start(driver, *flood[:4])
    for later in flood[4:]:
        driver.batch.add(later)
    paused = pauses(monkeypatch, driver)
    driver.batch.add(ask("other", prompt(20, 99), 5, key=KeyId("other")))

    driver.step()

    assert len(paused) == 1
    assert driver.tokens("other")
    driver.run()
    alone = drive()
    alone.run(*(ask(f"f{i}", prompt(20, i), 60) for i in range(12)))
    names = [each.request for each in flood]
    assert answers(driver, names) == answers(alone, names)


def test_one_keys_own_requests_give_way_to_none_of_its_own(drive, monkeypatch):
    driver = drive(slots=2)
    start(driver, *(ask(f"f{i}", prompt(20, i), 30) for i in range(2)))
    paused = pauses(monkeypatch, driver)

    driver.run(ask("later", prompt(20, 99), 5))

    assert not paused


def test_batch_work_gives_way_to_interactive_requests(drive, monkeypatch):
    driver = drive(slots=2)
    start(driver, *(ask(f"b{i}", prompt(20, i), 40, priority="batch") for i in range(2)))
    paused = pauses(monkeypatch, driver)
    for i in range(2):
        driver.batch.add(ask(f"i{i}", prompt(20, 50 + i), 5))
    driver.step()

    assert sorted(paused) == ["b0", "b1"]
    assert driver.tokens("i0")
    driver.run()
    assert [len(driver.tokens(f"b{i}")) for i in range(2)] == [40, 40]


def test_a_cancel_reaches_who_was_paused(drive, monkeypatch):
    driver = drive(slots=1)
    start(driver, ask("b", prompt(20), 40, priority="batch"))
    driver.batch.add(ask("i", prompt(20, 1), 5))
    driver.step()
    driver.batch.cancel("b")
    driver.run()

    assert isinstance(driver.last("b"), Failed)
    assert isinstance(driver.last("i"), End)
    assert not driver.batch.has_work


def test_a_flood_is_charged_and_another_key_reads_first(drive, monkeypatch):
    monkeypatch.setattr(fairness, "CREDIT", 0.0)
    driver = drive(slots=8)
    for i in range(3):
        driver.batch.add(ask(f"f{i}", prompt(900, i), 3, key=KeyId("flood")))
    driver.step()
    driver.batch.add(ask("other", prompt(600, 9), 3, key=KeyId("other")))
    while not driver.tokens("other"):
        driver.step()

    assert sum(bool(driver.tokens(f"f{i}")) for i in range(3)) <= 1
    driver.run()
    assert all(isinstance(f, Delta | End) for f in driver.frames["other"][-2:])


def test_a_prompt_that_cannot_be_read_in_time_is_refused_at_once(drive):
    driver = drive(clock=lambda: 100.0)
    driver.run(ask("late", prompt(1000), 5, expires_at=100.2))

    assert driver.last("late").code == "deadline_exceeded"
    assert len(driver.frames["late"]) == 1
