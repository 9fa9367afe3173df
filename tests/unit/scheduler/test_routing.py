"""Which engine is asked first."""

from proto.inference import Schedule
from proto.presence import EngineBeat, ModelCard
from services.scheduler.routing import rank

CARD = ModelCard(id="m", context_length=8)


def beat(engine: str, **fields: object) -> EngineBeat:
    plain = {"node": "n", "boot": f"{engine}-boot", "pid": 1, "state": "ready", "slots": 10}
    return EngineBeat(engine=engine, models=(CARD,), **(plain | fields))


def order(question: Schedule, *beats: EngineBeat, sent: dict[str, int] | None = None) -> list[str]:
    return [candidate.engine for candidate in rank(question, beats, sent or {})]


def test_the_least_loaded_engine_comes_first() -> None:
    assert order(Schedule(model="m"), beat("a", running=3), beat("b", queued=1)) == ["b", "a"]


def test_load_is_weighed_against_the_slots_an_engine_has() -> None:
    big, small = beat("big", running=8, slots=32), beat("small", running=4, slots=8)

    assert order(Schedule(model="m"), small, big) == ["big", "small"]


def test_what_was_sent_since_the_last_heartbeat_counts() -> None:
    assert order(Schedule(model="m"), beat("a"), beat("b"), sent={"a": 1}) == ["b", "a"]


def test_ties_go_to_the_first_id() -> None:
    assert order(Schedule(model="m"), beat("b"), beat("a")) == ["a", "b"]


def test_an_engine_that_read_the_conversation_may_be_busier() -> None:
    question = Schedule(model="m", prefix=(b"1", b"2"))

    assert order(question, beat("a"), beat("b", running=9, served_prefixes=(b"1", b"2")))[0] == "b"


def test_an_engine_more_than_a_batch_busier_is_left_alone() -> None:
    question = Schedule(model="m", prefix=(b"1", b"2"))
    full = beat("b", running=10, queued=5, served_prefixes=(b"1", b"2"))

    assert order(question, beat("a"), full)[0] == "a"


def test_the_longer_known_prefix_wins() -> None:
    question = Schedule(model="m", prefix=(b"1", b"2", b"3"))
    short, long = beat("a", served_prefixes=(b"1",)), beat("b", served_prefixes=(b"1", b"2"))

    assert order(question, short, long) == ["b", "a"]


def test_a_new_session_has_the_same_home_for_every_scheduler() -> None:
    question = Schedule(model="m", session="s")
    beats = [beat(id) for id in "abcd"]

    assert order(question, *beats) == order(question, *reversed(beats))
    homes = {order(Schedule(model="m", session=f"s{i}"), *beats)[0] for i in range(40)}
    assert homes == set("abcd")


def test_a_session_keeps_its_home_when_another_engine_leaves() -> None:
    beats = [beat(id) for id in "abcd"]
    question = Schedule(model="m", session="s")
    home = order(question, *beats)[0]

    for gone in set("abcd") - {home}:
        assert order(question, *(b for b in beats if b.engine != gone))[0] == home


def test_an_engine_to_avoid_comes_last_but_is_named() -> None:
    assert order(Schedule(model="m", avoid=("a",)), beat("a"), beat("b", running=9)) == ["b", "a"]
