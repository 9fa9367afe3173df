import mlx.core as mx
import pytest
from mlx_lm.models.cache import RotatingKVCache, make_prompt_cache

from proto.prefix import LONGEST
from services.runner.engine.caching import radix_cache
from services.runner.engine.caching.marks import Mark
from services.runner.engine.caching.prefix_cache import prefix_cache
from services.runner.engine.caching.radix_cache import RadixCache
from services.runner.engine.caching.snapshot_cache import SnapshotCache
from tests.unit.engine.asking import ask, prompt

TOKEN_BYTES = 2 * 2 * 2 * 16 * 4
"""Layers, keys and values, KV heads, head size, float32."""


def filled(tiny, tokens):
    cache = make_prompt_cache(tiny.model)
    tiny.model(mx.array([tokens]), cache=cache)
    mx.eval([layer.state for layer in cache])
    return cache


def store(tiny, prefixes, tokens, session=None):
    prefixes.insert(tokens, filled(tiny, tokens), session)


def test_a_prefix_is_found_by_its_tokens_up_to_the_first_that_differs(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    tokens = prompt(50)
    store(tiny, prefixes, tokens)
    assert prefixes.match(tokens) == 49
    assert prefixes.match([*tokens, 7]) == 50
    other = [*tokens[:30], tokens[30] ^ 1, *tokens[31:]]
    cache, cached = prefixes.fetch(other)
    assert cached == 30
    expected = filled(tiny, tokens[:30])
    for found, wanted in zip(cache, expected, strict=True):
        assert found.offset == 30
        assert mx.allclose(found.keys, wanted.keys[..., :30, :], atol=1e-5)
    assert prefixes.match(prompt(50, 99)) == 0


def test_only_what_is_new_is_stored(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    trunk = prompt(40)
    for branch in range(3):
        store(tiny, prefixes, [*trunk, *prompt(10, 100 + branch)])
    store(tiny, prefixes, trunk)
    assert prefixes.stats().tokens == 40 + 3 * 10
    assert prefixes.stats().used_bytes == 70 * TOKEN_BYTES


def test_a_fetched_cache_is_ones_own(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    tokens = prompt(30)
    store(tiny, prefixes, tokens)
    first, cached = prefixes.fetch([*tokens, 5])
    tiny.model(mx.array([[5, 6, 7]]), cache=first)
    mx.eval([layer.state for layer in first])
    second, _ = prefixes.fetch([*tokens, 9])
    for found, wanted in zip(second, filled(tiny, tokens), strict=True):
        assert mx.allclose(found.keys, wanted.keys[..., :cached, :], atol=1e-5)


def test_it_never_outgrows_its_limit_and_the_oldest_leaf_goes_first(tiny):
    prefixes = RadixCache(tiny.model, 100 * TOKEN_BYTES)
    for seed in range(12):
        store(tiny, prefixes, prompt(20, seed))
        assert prefixes.stats().used_bytes <= 100 * TOKEN_BYTES
    assert prefixes.match([*prompt(20, 11), 1]) == 20
    assert prefixes.match([*prompt(20, 0), 1]) == 0


def test_something_larger_than_the_limit_leaves_what_is_there_alone(tiny):
    prefixes = RadixCache(tiny.model, 50 * TOKEN_BYTES)
    store(tiny, prefixes, prompt(20, 1))
    store(tiny, prefixes, prompt(80, 2))
    assert prefixes.match([*prompt(20, 1), 1]) == 20
    assert prefixes.stats().tokens == 20


def test_a_sessions_latest_conversation_outlives_all_that_is_not_pinned(tiny):
    prefixes = RadixCache(tiny.model, 100 * TOKEN_BYTES)
    store(tiny, prefixes, prompt(30, 1), "s")
    for seed in range(2, 12):
        store(tiny, prefixes, prompt(20, seed))
    assert prefixes.match([*prompt(30, 1), 1]) == 30
    store(tiny, prefixes, prompt(30, 50), "s")
    for seed in range(60, 70):
        store(tiny, prefixes, prompt(20, seed))
    assert prefixes.match([*prompt(30, 1), 1]) == 0
    assert prefixes.match([*prompt(30, 50), 1]) == 30


def test_pins_hold_through_a_split_and_give_way_to_the_limit(tiny):
    prefixes = RadixCache(tiny.model, 100 * TOKEN_BYTES)
    pinned = prompt(40, 1)
    store(tiny, prefixes, pinned, "s")
    store(tiny, prefixes, [*pinned[:10], *prompt(10, 9)])
    for seed in range(20, 30):
        store(tiny, prefixes, prompt(20, seed))
    assert prefixes.match([*pinned, 1]) == 40
    store(tiny, prefixes, prompt(90, 2), "other")
    assert prefixes.stats().used_bytes <= 100 * TOKEN_BYTES


def test_the_number_of_sessions_is_bounded(tiny, monkeypatch):
    monkeypatch.setattr(radix_cache, "SESSIONS", 3)
    prefixes = RadixCache(tiny.model, 1 << 30)
    for seed in range(10):
        store(tiny, prefixes, prompt(5, seed), f"s{seed}")
    assert len(prefixes._sessions) == 3


def test_answers_with_and_without_a_cached_prefix_are_equal_and_counted_exactly(drive):
    system = prompt(120)
    warm = drive()
    warm.run(ask("first", [*system, *prompt(9, 1)], 10))
    warm.run(ask("again", [*system, *prompt(9, 1)], 10))
    warm.run(ask("other", [*system, *prompt(17, 2)], 10))
    cold = drive(cache_bytes=0)
    cold.run(ask("other", [*system, *prompt(17, 2)], 10))
    assert warm.tokens("again") == warm.tokens("first")
    assert warm.last("again").usage.cached_tokens == 128
    assert warm.tokens("other") == cold.tokens("other")
    assert warm.last("other").usage.cached_tokens == 120
    assert cold.last("other").usage.cached_tokens == 0


def test_the_next_turn_of_a_conversation_finds_the_answer_before_it(drive):
    driver = drive()
    tokens = prompt(30)
    driver.run(ask("one", tokens, 12, session="s"))
    longer = [*tokens, *driver.tokens("one"), *prompt(5, 3)]
    driver.run(ask("two", longer, 12, session="s"))
    assert driver.last("two").usage.cached_tokens == 30 + 12
    cold = drive()
    cold.run(ask("two", longer, 12))
    assert driver.tokens("two") == cold.tokens("two")


def test_what_was_computed_before_a_cancel_or_a_stop_is_found_again(drive):
    driver = drive()
    driver.batch.add(ask("a", prompt(30), 100))
    while len(driver.tokens("a")) < 6:
        driver.step()
    driver.batch.cancel("a")
    driver.run(ask("b", [*prompt(30), *driver.tokens("a")[:6], 8], 4))
    assert driver.last("b").usage.cached_tokens == 36


def test_requests_with_one_new_system_prompt_read_it_once(drive):
    driver = drive()
    driver.batch.warm()
    system = prompt(200)
    driver.run(*(ask(f"r{i}", [*system, *prompt(8, i)], 3) for i in range(8)))
    cached = sorted(driver.last(f"r{i}").usage.cached_tokens for i in range(8))
    assert cached == [0] + [200] * 7


@pytest.fixture
def windowed(tiny, monkeypatch):
    def make_cache():
        return [RotatingKVCache(max_size=64) for _ in tiny.model.layers]

    monkeypatch.setattr(tiny.model, "make_cache", make_cache, raising=False)
    return tiny


def test_a_model_with_windows_is_kept_by_whole_snapshots(windowed, drive):
    assert isinstance(prefix_cache(windowed.model, 1 << 30), SnapshotCache)
    driver = drive(windowed)
    tokens = prompt(100)
    driver.run(ask("one", tokens, 12))
    longer = [*tokens, *driver.tokens("one"), *prompt(5, 3)]
    driver.run(ask("two", longer, 12))
    assert driver.last("two").usage.cached_tokens == 112
    cold = drive(windowed, cache_bytes=0)
    cold.run(ask("two", longer, 12))
    assert driver.tokens("two") == cold.tokens("two")


def mark(tiny, prefixes, tokens, *marks):
    """Each by the number of tokens where it stands."""
    ends = [Mark(name, tokens) for name, tokens in marks]
    prefixes.insert(tokens, filled(tiny, tokens), None, ends)


def test_it_tells_the_marks_of_what_it_holds(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    mark(tiny, prefixes, prompt(40), (b"system", 10), (b"user", 40))

    assert prefixes.told() == {b"system": 10, b"user": 40}


def test_a_mark_goes_with_the_tokens_it_stands_at_when_a_span_is_split(tiny):
    prefixes = RadixCache(tiny.model, 90 * TOKEN_BYTES)
    trunk = prompt(20)
    mark(tiny, prefixes, [*trunk, *prompt(40, 1)], (b"trunk", 20), (b"in one", 30), (b"one", 60))
    mark(tiny, prefixes, [*trunk, *prompt(20, 2)], (b"trunk", 20), (b"other", 40))
    assert prefixes.told() == {b"trunk": 20, b"in one": 30, b"one": 60, b"other": 40}

    # The first branch is the oldest leaf: it goes, and what it alone held is told no more.
    mark(tiny, prefixes, [*trunk, *prompt(20, 3)], (b"third", 40))
    assert prefixes.told() == {b"trunk": 20, b"other": 40, b"third": 40}


def test_nothing_is_told_of_tokens_that_were_not_kept(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    tokens = prompt(40)
    ends = [Mark(b"kept", 20), Mark(b"beyond", 40)]
    prefixes.insert(tokens, filled(tiny, tokens[:30]), None, ends)
    too_small = RadixCache(tiny.model, 10 * TOKEN_BYTES)
    mark(tiny, too_small, tokens, (b"too large", 40))

    assert prefixes.told() == {b"kept": 20}
    assert too_small.told() == {}


def test_a_later_prompt_marks_tokens_that_are_there_already(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    store(tiny, prefixes, prompt(40))
    mark(tiny, prefixes, prompt(40)[:30], (b"in the middle", 15), (b"to here", 30))

    assert prefixes.told() == {b"in the middle": 15, b"to here": 30}
    assert prefixes.stats().tokens == 40


def test_ends_of_conversations_and_forks_are_told_before_what_lies_on_the_way(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    tokens = prompt(60)
    mark(tiny, prefixes, tokens[:20], (b"first turn", 20))
    mark(tiny, prefixes, tokens[:40], (b"fork", 40))
    mark(tiny, prefixes, tokens, (b"end", 60))
    mark(tiny, prefixes, [*tokens[:40], *prompt(20, 9)], (b"other end", 60))

    order = list(prefixes.told())
    assert order[-1] == b"first turn"
    assert set(order[:2]) == {b"fork", b"other end"}


def test_marks_of_the_same_tokens_are_bounded(tiny):
    prefixes = RadixCache(tiny.model, 1 << 30)
    for number in range(LONGEST + 5):
        mark(tiny, prefixes, prompt(4), (b"%d" % number, 4))

    latest, oldest = list(prefixes.told())[:2]
    assert (latest, oldest) == (b"%d" % (LONGEST + 4), b"5")


def test_of_snapshots_only_the_whole_is_told_and_only_while_they_are_kept(windowed):
    size = sum(layer.nbytes for layer in filled(windowed, prompt(40)))
    prefixes = SnapshotCache(windowed.model, 2 * size)
    for seed, name in enumerate((b"a", b"b", b"c")):
        mark(windowed, prefixes, prompt(40, seed), (b"system", 10), (name, 40))

    assert list(prefixes.told()) == [b"c", b"b"]


def test_a_batch_tells_what_its_requests_left_in_the_cache(drive):
    driver = drive()
    chat = ask("a", prompt(40), 3)
    chat.marks = (Mark(b"system", 10), Mark(b"whole", 40))
    assert driver.batch.cached_prefixes == {}

    driver.run(chat)

    assert driver.batch.cached_prefixes == {b"system": 10, b"whole": 40}


def test_what_is_told_is_what_the_next_prompt_finds(drive):
    driver = drive()
    first = ask("a", prompt(200), 3)
    first.marks = (Mark(b"half", 100),)
    driver.run(first)
    (known,) = driver.batch.cached_prefixes.values()

    driver.run(ask("b", [*prompt(200)[:known], *prompt(50, 5)], 2))

    assert driver.last("b").usage.cached_tokens == known
