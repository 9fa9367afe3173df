"""Who is next: by priority, fairly between keys, in order within one."""

import itertools
from dataclasses import dataclass, field
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from proto.ids import KeyId, RequestId
from proto.placement import Priority
from services.runner.engine.queueing import fairness
from services.runner.engine.queueing.fairness import GENERATED, Share
from services.runner.engine.queueing.queue import BATCH_EVERY, Queue, has_place

_numbers = itertools.count()


@dataclass(eq=False)
class Wish:
    key: KeyId
    remaining: int = 10
    weight: float = 1.0
    priority: Priority = "interactive"
    expires_at: float | None = None
    tokens: int = 0
    """Of its answer, still to come."""
    request: RequestId = field(default_factory=lambda: RequestId(f"r{next(_numbers)}"))
    share: Share = field(default_factory=Share)
    is_due: bool = False
    ran_before: bool = False


def wishes(key, count, **rest):
    return [Wish(KeyId(key), **rest) for _ in range(count)]


def queue_of(*waiting, slots=16, now=lambda: 0.0):
    queue = Queue(slots, now)
    for wish in waiting:
        queue.add(wish)
    return queue


def take(queue):
    wish = queue.next()
    queue.take(wish)
    wish.share.read(wish.remaining)
    return wish


def drained(queue):
    return [take(queue) for _ in range(len(queue))]


def test_one_keys_requests_keep_their_order():
    flood = wishes("a", 20)

    assert drained(queue_of(*flood)) == flood


def test_an_earlier_deadline_goes_first_within_a_key():
    relaxed, late, soon = wishes("a", 1) + [Wish(KeyId("a"), expires_at=s) for s in (50.0, 5.0)]

    assert drained(queue_of(relaxed, late, soon)) == [soon, late, relaxed]


def test_no_deadline_is_put_off_for_ever():
    now = itertools.count(step=1)
    queue = queue_of(*wishes("a", 1), now=lambda: float(next(now)))
    (patient,) = queue
    for _ in range(100):
        queue.add(Wish(KeyId("a"), expires_at=next(now) + 30.0))

    assert drained(queue).index(patient) < 50


def test_another_key_is_next_whatever_the_flood_before_it():
    queue = queue_of(*wishes("flood", 200))
    for _ in range(16):
        take(queue)
    (other,) = wishes("other", 1, remaining=5000)
    queue.add(other)

    assert queue.place_of(other.request) == 0
    assert take(queue) is other


def test_interactive_requests_go_before_batch_ones():
    batch, interactive = wishes("a", 3, priority="batch"), wishes("a", 3)

    assert drained(queue_of(*batch, *interactive)) == interactive + batch


def test_batch_requests_are_not_put_off_for_ever():
    queue = queue_of(*wishes("a", 3 * BATCH_EVERY), *wishes("b", 2, priority="batch"))
    order = drained(queue)

    places = [place for place, wish in enumerate(order) if wish.priority == "batch"]
    assert places == [BATCH_EVERY - 1, 2 * BATCH_EVERY - 1]
    assert [order[place].is_due for place in places] == [True, True]
    assert not any(wish.is_due for wish in order if wish.priority != "batch")


def test_who_was_put_back_is_the_first_of_its_key():
    queue = queue_of(*wishes("a", 3))
    first, second = take(queue), take(queue)
    queue.put_back(second)
    queue.put_back(first)

    assert drained(queue)[:2] == [first, second]


def test_places_are_those_of_the_order_in_which_requests_are_taken():
    queue = queue_of(
        *wishes("a", 7, remaining=30),
        *wishes("b", 7, remaining=80, weight=2.0),
        *wishes("c", 4, priority="batch"),
    )
    places = {wish.request: queue.place_of(wish.request) for wish in queue}

    assert {w.request: at for at, w in enumerate(drained(queue))} == places
    assert queue.place_of(RequestId("stranger")) is None


def test_who_leaves_makes_room_and_waits_no_more():
    queue = queue_of(*wishes("a", 2), *wishes("b", 2, expires_at=7.0))
    assert queue.next_expiry == 7.0

    gone = queue.withdraw(lambda wish: wish.expires_at == 7.0)

    assert len(gone) == 2
    assert (len(queue), queue.waiting_of(KeyId("b")), queue.waiting_of(KeyId("a"))) == (2, 0, 2)
    assert queue.next_expiry == float("inf")


def test_a_pause_earns_a_key_no_more_than_its_credit():
    queue = queue_of(*wishes("busy", 100, remaining=1000))
    served = drained(queue)[0].share.served
    queue.add(*wishes("back", 1))

    assert queue.next().share.served == served - fairness.CREDIT


def test_a_key_alone_may_have_nearly_every_place_and_others_find_some_still():
    own = next(count for count in itertools.count() if not has_place(count, count, 256))

    assert own == 224
    assert has_place(own, 0, 256)
    assert not has_place(256, 0, 256)


def test_a_queue_of_few_places_keeps_none():
    assert [has_place(count, count, 2) for count in range(3)] == [True, True, False]


PROMPT, ANSWER = st.integers(1, 30), st.integers(5, 15)
ORDER = st.lists(st.tuples(PROMPT, ANSWER, st.booleans()), min_size=20, max_size=40)


@given(ORDER, st.sampled_from([1.0, 1.5, 2.0]))
@settings(max_examples=25, deadline=None)
def test_keys_that_both_want_more_get_tokens_by_their_weights(pattern, weight):
    """The clocks of two keys with something waiting never part by more than runs at once."""
    slots, weights = 16, {"a": 1.0, "b": weight}
    most = 2 * slots * (30 + GENERATED * 15)
    queue, running = Queue(slots, lambda: 0.0), []

    def come(prompt, answer, is_a):
        key = "a" if is_a else "b"
        queue.add(Wish(KeyId(key), prompt, weights[key], tokens=answer))

    with mock.patch.object(fairness, "CREDIT", 0.0):
        for is_a in (True, False):
            for prompt, answer, _ in pattern:
                come(prompt, answer, is_a)
        arrivals = itertools.cycle(pattern)
        for _ in range(80):
            while len(running) < slots:
                running.append(take(queue))
            for wish in list(running):
                wish.share.generated()
                wish.tokens -= 1
                if wish.tokens == 0:
                    running.remove(wish)
                    queue.end(wish)
                    come(*next(arrivals)[:2], wish.key == "a")
            clocks = {wish.key: wish.share.served for wish in queue}
            if len(clocks) == 2:
                assert abs(clocks["a"] - clocks["b"]) <= most
    assert min(clocks.values()) > 0
