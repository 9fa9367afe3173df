import random

from proto.ids import KeyId, RequestId
from services.runner.engine.embedding.passes import PASS_S, Job, Pace, Rotation
from services.runner.engine.embedding.row import Row


def job(name, *lengths, **rest):
    rows = [Row([7] * length, [0] * length) for length in lengths]
    return Job(RequestId(name), rows, **rest)


def read_all(rotation, tokens):
    """Every pass: the request and length of each of its rows."""
    passes = []
    while rotation.has_work:
        places = rotation.next(tokens)
        assert places, "a pass holds something"
        passes.append([(place.job.request, place.job.length(place.row)) for place in places])
    return passes


def test_requests_that_arrive_together_share_a_pass():
    rotation = Rotation(slots=4)
    for name in "abc":
        rotation.add(job(name, 10))

    assert read_all(rotation, 100) == [[("a", 10), ("b", 10), ("c", 10)]]


def test_another_keys_request_is_read_before_the_rest_of_a_flood():
    rotation = Rotation(slots=4)
    for number in range(30):
        rotation.add(job(f"flood-{number}", *[10] * 5, key=KeyId("flood")))
    for _ in range(4):
        rotation.next(50)
    rotation.add(job("other", *[10] * 5, key=KeyId("other")))
    passes = read_all(rotation, 50)

    in_it = [number for number, read in enumerate(passes) if "other" in {name for name, _ in read}]
    assert in_it[-1] <= 4


def test_requests_that_may_wait_are_read_last():
    rotation = Rotation(slots=1)
    rotation.add(job("later", 10, priority="batch"))
    rotation.add(job("now", 10))

    assert read_all(rotation, 10) == [[("now", 10)], [("later", 10)]]


def test_a_long_list_is_cut_into_passes_and_a_newcomer_gets_in_between():
    rotation = Rotation(slots=4)
    rotation.add(job("list", *[10] * 100))
    first = rotation.next(50)
    rotation.add(job("new", 10))

    second = rotation.next(50)

    assert [place.job.request for place in first] == ["list"] * 5
    assert "new" in [place.job.request for place in second]


def test_a_pass_padded_is_no_larger_than_allowed_unless_it_is_one_row():
    random.seed(3)
    rotation = Rotation(slots=8)
    asked = {name: [random.randint(1, 300) for _ in range(40)] for name in "abcdefghij"}
    for name, lengths in asked.items():
        rotation.add(job(name, *lengths))

    passes = read_all(rotation, 200)

    for rows in passes:
        widest = max(length for _, length in rows)
        assert len(rows) == 1 or len(rows) * widest <= 200
        assert all(2 * length >= widest for _, length in rows), "mostly padding"
    read = [row for rows in passes for row in rows]
    assert sorted(read) == sorted((name, n) for name, all_ in asked.items() for n in all_)


def test_every_request_at_work_has_its_turn():
    rotation = Rotation(slots=8)
    rotation.add(job("long", *[500] * 50))
    rotation.add(job("short", 3))

    turns = [[place.job.request for place in rotation.next(1000)] for _ in range(2)]

    assert turns == [["long", "long"], ["short"]]


def test_more_than_the_slots_wait_in_order_of_arrival():
    rotation = Rotation(slots=2)
    for name in "abcd":
        rotation.add(job(name, 10))

    assert read_all(rotation, 1000) == [[("a", 10), ("b", 10)], [("c", 10), ("d", 10)]]


def test_what_nobody_waits_for_any_more_is_told_and_dropped():
    rotation = Rotation(slots=1)
    kept, late = job("kept", 10), job("late", 10, expires_at=100.0)
    rotation.add(kept)
    rotation.add(late)

    assert rotation.expired(99.0) == []
    assert rotation.expired(100.0) == [late]

    rotation.drop(late)
    assert list(rotation) == [kept]
    assert rotation.tokens == 10


def test_a_pass_grows_to_what_may_be_read_in_its_time():
    pace = Pace(least=16, most=5000)
    for _ in range(30):
        pace.learn(1000, 0.1)

    assert abs(pace.tokens - 10_000 * PASS_S) < 20

    for _ in range(60):
        pace.learn(1000, 1000.0)
    assert pace.tokens == 16
