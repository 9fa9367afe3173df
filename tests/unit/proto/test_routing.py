"""Which engine is asked first."""

from proto.placement import Prefix, Schedule
from proto.presence import EngineBeat, ModelCard
from proto.routing import Choice, Standing, rank

CARD = ModelCard(id="m", context_length=8)
COLD = Schedule(model="m", prompt_bytes=4000)
TALK = Schedule(model="m", prefix=(Prefix(b"1", 2000), Prefix(b"2", 4000), Prefix(b"3", 8000)))


def at(
    engine: str,
    *,
    sent: tuple[int, int] = (0, 0),
    known: object = (),
    promised: object = (),
    **fields: object,
):
    """An engine; ``sent`` are requests and their tokens."""
    plain = {"node": "n", "boot": f"{engine}-boot", "pid": 1, "state": "ready", "slots": 10}
    plain |= {"prefill_tokens_per_s": 1000.0, "prefixes": dict(known)}
    beat = EngineBeat(engine=engine, models=(CARD,), **(plain | fields))
    return Standing(beat, dict(promised), *sent)


def order(question: Schedule, *standings: Standing) -> list[str]:
    return [choice.beat.engine for choice in rank(question, standings)]


def test_an_upstream_that_is_left_alone_comes_last_but_is_named() -> None:
    assert order(COLD, at("a", circuit="open"), at("b"), at("c", circuit="half_open")) == [
        "b",
        "c",
        "a",
    ]


def only(question: Schedule, standing: Standing) -> Choice:
    (choice,) = rank(question, [standing])
    return choice


def test_an_idle_engine_takes_as_long_as_it_reads() -> None:
    choice = only(COLD, at("a"))

    assert (choice.prompt_tokens, choice.unread_tokens) == (1000, 1000)
    assert choice.expected_s == 1.0


def test_what_is_cached_need_not_be_read() -> None:
    choice = only(TALK, at("a", known={b"2": 1000}))

    assert (choice.prompt_tokens, choice.unread_tokens) == (2000, 1000)


def test_what_is_on_its_way_into_the_cache_counts_as_cached() -> None:
    standing = at("a", known={b"1": 500}, promised={b"1": 499, b"2": 1000})

    assert only(TALK, standing).unread_tokens == 1000


def test_a_prompt_is_as_many_tokens_as_the_engine_counted_that_knows_most_of_it() -> None:
    dense = at("a", known={b"1": 1000})
    choices = rank(TALK, [dense, at("b")])

    assert [choice.prompt_tokens for choice in choices] == [4000, 4000]
    assert [choice.unread_tokens for choice in choices] == [3000, 4000]


def test_the_longest_known_beginning_counts() -> None:
    assert order(TALK, at("a", known={b"1": 500}), at("b", known={b"1": 500, b"2": 1000})) == [
        "b", "a",
    ]  # fmt: skip


def test_the_least_loaded_engine_comes_first() -> None:
    assert order(COLD, at("a", running=3), at("b", queued=1)) == ["b", "a"]


def test_load_is_weighed_against_the_slots_an_engine_has() -> None:
    assert order(COLD, at("small", running=4, slots=8), at("big", running=8, slots=32)) == [
        "big", "small",
    ]  # fmt: skip


def test_prompts_that_wait_to_be_read_count_at_the_speed_they_are_read_with() -> None:
    fast = at("fast", queued_tokens=4000, unread=4, prefill_tokens_per_s=8000.0)

    assert order(COLD, at("slow", queued_tokens=2000, unread=2), fast) == ["fast", "slow"]


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    talk = Schedule(model="m", prefix=(Prefix(b"1", 40_000), Prefix(b"2", 40_400)))
    reading = at("a", known={b"1": 10_000}, queued_tokens=30_000, unread=1)

    assert order(talk, reading, at("b"))[0] == "a"
    assert only(talk, reading).expected_s < 1.0


def test_what_was_sent_since_the_last_heartbeat_counts() -> None:
    assert order(COLD, at("a", sent=(1, 1000)), at("b")) == ["b", "a"]


def test_an_engine_that_knows_the_prompt_may_be_busier() -> None:
    assert order(TALK, at("a"), at("b", running=9, known={b"3": 2000})) == ["b", "a"]


def test_an_engine_that_knows_the_prompt_is_left_alone_once_waiting_costs_more_than_reading() -> (
    None
):
    full = at("b", running=10, queued=5, request_s=5.0, known={b"3": 2000})

    assert order(TALK, at("a"), full) == ["a", "b"]


def test_beside_running_answers_reading_takes_longer() -> None:
    assert only(COLD, at("a", running=9)).expected_s > only(COLD, at("a", running=1)).expected_s


def test_an_engine_without_room_for_the_prompt_among_its_kv_caches_is_later() -> None:
    tight = at("a", kv_tokens=4000, kv_used_tokens=3500, known={b"1": 500})

    assert order(TALK, tight, at("b", kv_tokens=4000, kv_used_tokens=1000)) == ["b", "a"]
    assert order(TALK, at("a", known={b"1": 500}), at("b"))[0] == "a"


def test_interactive_requests_do_not_mind_those_that_wait_for_them() -> None:
    busy = at("a", running=10, queued=10, batch_requests=20, prefill_tokens_per_s=1100.0)
    batch = Schedule(model="m", prompt_bytes=4000, priority="batch")

    assert order(COLD, busy, at("b")) == ["a", "b"]
    assert order(batch, busy, at("b")) == ["b", "a"]


def test_an_engine_never_measured_is_tried_as_if_it_were_the_best() -> None:
    new = at("new", prefill_tokens_per_s=0.0)

    assert order(COLD, at("a", running=1), new) == ["new", "a"]
    assert only(COLD, new).expected_s > 1.0


def test_ties_go_to_the_first_id() -> None:
    assert order(COLD, at("b"), at("a")) == ["a", "b"]


def test_a_new_session_has_the_same_home_for_every_scheduler() -> None:
    question = Schedule(model="m", session="s")
    standings = [at(id) for id in "abcd"]

    assert order(question, *standings) == order(question, *reversed(standings))
    homes = {order(Schedule(model="m", session=f"s{i}"), *standings)[0] for i in range(40)}
    assert homes == set("abcd")


def test_unknown_prompts_without_a_session_spread_by_how_they_begin() -> None:
    standings = [at(id) for id in "abcd"]

    def home(system: int, user: bytes) -> str:
        begin = Prefix(b"system%d" % system, 4000)
        return order(Schedule(model="m", prefix=(begin, Prefix(user, 4400))), *standings)[0]

    assert {home(system, b"x") for system in range(40)} == set("abcd")
    assert home(7, b"x") == home(7, b"y")


def test_a_session_keeps_its_home_when_another_engine_leaves() -> None:
    standings = [at(id) for id in "abcd"]
    question = Schedule(model="m", session="s")
    home = order(question, *standings)[0]

    for gone in set("abcd") - {home}:
        assert order(question, *(s for s in standings if s.beat.engine != gone))[0] == home


def test_a_home_that_is_busy_is_no_home() -> None:
    question = Schedule(model="m", session="s", prompt_bytes=4000)
    home = order(question, *map(at, "abcd"))[0]
    standings = [at(id, sent=(1, 1000) if id == home else (0, 0)) for id in "abcd"]

    assert order(question, *standings)[-1] == home


def test_a_session_follows_what_is_known_of_it_and_not_its_home() -> None:
    question = Schedule(model="m", session="s", prefix=TALK.prefix)
    home = order(question, *map(at, "abcd"))[0]
    other = next(id for id in "abcd" if id != home)
    standings = [at(id, known={b"1": 500} if id == other else ()) for id in "abcd"]

    assert order(question, *standings)[0] == other


def test_an_engine_to_avoid_comes_last_but_is_named() -> None:
    avoid = Schedule(model="m", avoid=("a",))

    assert order(avoid, at("a"), at("b", running=9)) == ["b", "a"]


def test_an_upstream_that_tells_no_slots_has_no_queue_to_wait_in() -> None:
    assert only(COLD, at("up", slots=0, running=100)).expected_s < 3.0
