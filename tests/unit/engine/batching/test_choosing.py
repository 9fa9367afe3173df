from services.runner.engine.batching.choosing import choose
from services.runner.engine.queueing.fairness import Share
from services.runner.engine.queueing.queue import Queue
from tests.unit.engine.asking import ask, prompt


def waiting(*lengths):
    return [ask(f"r{i}", prompt(length, i)) for i, length in enumerate(lengths)]


def chosen(sequences, budget, turn=1):
    rank = Queue(slots=16).rank
    return [s.request for s in choose(sequences, lambda _: budget, turn, rank)[0]]


def test_the_shortest_remainder_goes_first():
    assert chosen(waiting(5000, 800, 3000), 64) == ["r1"]


def test_every_fourth_turn_is_the_oldest_prompts():
    assert [chosen(waiting(5000, 800), 64, turn)[0] for turn in range(5)] == [
        *("r0", "r1", "r1", "r1", "r0")
    ]


def test_prompts_of_like_length_share_a_batch_within_the_budget():
    assert chosen(waiting(20, 22, 24, 400), 1000) == ["r0", "r1", "r2"]
    assert chosen(waiting(20, 22, 24, 400), 50) == ["r0", "r1"]
    assert chosen(waiting(20, 100), 1000) == ["r0"]


def test_one_long_cached_prefix_does_not_pad_the_others():
    sequences = waiting(20, 2020)
    sequences[1].done = 2000
    assert chosen(sequences, 10_000) == ["r0"]


def test_the_key_that_had_least_reads_first_whatever_its_prompts_length():
    had_much, had_little = Share(), Share()
    had_much.read(5000)
    short, long = waiting(20, 900)
    short.share, long.share = had_much, had_little

    assert choose([short, long], lambda _: 64, 1, Queue(slots=16).rank)[0] == [long]
