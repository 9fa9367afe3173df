"""Which engines make room for a model, and when."""

from collections.abc import Iterable, Sequence
from typing import Any

from proto.config import Config, LoadingConfig
from proto.plan import Placement
from proto.presence import EngineBeat, EngineStatus
from services.scheduler.demand.room import LOOK_AGAIN_S, Claim, make_room
from services.scheduler.view import View
from tests.unit.scheduler import fleet
from tests.unit.scheduler.fleet import NOW, beat, placement

NODE = "studio"
PERSON = Claim(model="new", by="operator", since_s=NOW)
REQUEST = Claim(model="new", by="demand", since_s=NOW)


def view(
    placements: Sequence[Placement],
    beats: Iterable[EngineBeat] = (),
    *,
    wirable: int = 10,
    statuses: tuple[EngineStatus, ...] = (),
    **fields: Any,
) -> View:
    engines = {b.engine: b for b in beats}
    fields.setdefault("ready_since", {p.engine: p.placed_s for p in placements})
    alive = fleet.node(*statuses, wirable=wirable)
    return fleet.view(*placements, alive=alive, engines=engines, **fields)


def test_what_fits_needs_nobody_to_go() -> None:
    assert make_room(view([]), NODE, 10, REQUEST).is_there


def test_the_least_recently_used_goes_first() -> None:
    seen = view(
        [placement("fresh"), placement("stale")],
        [beat("fresh", idle_s=5), beat("stale", idle_s=60)],
        wirable=20,
    )

    assert make_room(seen, NODE, 10, REQUEST).evict == ("stale",)


def test_an_idle_engine_goes_before_a_busy_one() -> None:
    seen = view(
        [placement("busy", placed_s=NOW - 900), placement("idle")],
        [beat("busy", running=1), beat("idle", idle_s=1)],
        wirable=20,
    )

    assert make_room(seen, NODE, 10, PERSON).evict == ("idle",)


def test_of_busy_engines_the_longest_resident_goes() -> None:
    seen = view(
        [placement("young"), placement("old", placed_s=NOW - 900)],
        [beat("young", running=1), beat("old", running=1)],
        wirable=20,
    )

    assert make_room(seen, NODE, 10, REQUEST).evict == ("old",)


def test_a_small_engine_stays_when_the_next_one_is_enough_alone() -> None:
    seen = view(
        [placement("small", 2), placement("large", 10)],
        [beat("small", idle_s=60), beat("large", idle_s=5)],
        wirable=12,
    )

    assert make_room(seen, NODE, 9, REQUEST).evict == ("large",)


def test_nothing_goes_while_not_all_that_is_needed_can() -> None:
    seen = view(
        [placement("ripe", 5), placement("green", 5, placed_s=NOW - 10)],
        [beat("ripe", idle_s=60), beat("green")],
    )
    room = make_room(seen, NODE, 10, REQUEST)

    assert (room.evict, room.wait_s) == ((), 20.0)
    assert room.why == "waiting for its turn (20 s)"


def test_a_request_leaves_an_engine_its_residence_from_when_it_was_ready() -> None:
    seen = view([placement("a")], [beat("a", idle_s=5)], ready_since={"a": NOW - 5})

    assert make_room(seen, NODE, 10, REQUEST).wait_s == 25.0


def test_the_residence_is_what_the_configuration_says() -> None:
    config = Config(loading=LoadingConfig(min_residence_s=2.0))
    seen = view([placement("a", placed_s=NOW - 3)], [beat("a", running=1)], config=config)

    assert make_room(seen, NODE, 10, REQUEST).evict == ("a",)


def test_a_person_need_not_wait_for_a_residence_to_end() -> None:
    seen = view([placement("a", placed_s=NOW - 1)], [beat("a", running=1)])

    assert make_room(seen, NODE, 10, PERSON).evict == ("a",)


def test_a_pinned_engine_stays_and_is_named() -> None:
    room = make_room(view([placement("a", is_pinned=True)], [beat("a")]), NODE, 10, PERSON)

    assert (room.evict, room.wait_s) == ((), None)
    assert room.why == "a on studio is pinned"


def test_a_model_never_makes_room_for_itself() -> None:
    seen = view([placement("new")], [beat("new", idle_s=60)])

    assert make_room(seen, NODE, 10, PERSON).wait_s is None


def test_what_leaves_already_is_waited_for_and_nobody_else_goes() -> None:
    seen = view(
        [placement("leaving", is_draining=True), placement("idle")],
        [beat("leaving", running=1), beat("idle", idle_s=60)],
        wirable=20,
    )
    room = make_room(seen, NODE, 10, REQUEST)

    assert (room.evict, room.wait_s) == ((), LOOK_AGAIN_S)
    assert room.why == "waiting for leaving to finish"


def test_what_leaves_for_an_earlier_claim_is_not_taken_by_a_later_one() -> None:
    seen = view(
        [placement("leaving", is_draining=True), placement("idle")],
        [beat("leaving", running=1), beat("idle", idle_s=60)],
        wirable=20,
    )

    assert make_room(seen, NODE, 10, REQUEST, promised_bytes=10).evict == ("idle",)


def test_free_memory_is_kept_for_an_earlier_claim() -> None:
    seen = view([placement("a", is_pinned=True)], [beat("a")], wirable=20)
    room = make_room(seen, NODE, 10, REQUEST, promised_bytes=10)

    assert (room.evict, room.wait_s) == ((), LOOK_AGAIN_S)
    assert room.why == "waiting for models that were asked for earlier"


def test_an_engine_that_still_loads_is_not_ended_by_anybody() -> None:
    seen = view([placement("a")], [beat("a", state="loading")])

    assert make_room(seen, NODE, 10, REQUEST).wait_s == 30.0
    assert make_room(seen, NODE, 10, PERSON).wait_s == LOOK_AGAIN_S


def test_an_engine_that_never_will_serve_goes_at_once() -> None:
    status = fleet.status("a", "refused")

    assert make_room(view([placement("a")], statuses=(status,)), NODE, 10, REQUEST).evict == ("a",)


def test_of_two_people_the_second_does_not_take_what_the_first_got() -> None:
    seen = view([placement("a", origin="operator", placed_s=NOW + 1)], [beat("a", idle_s=9)])

    assert make_room(seen, NODE, 10, PERSON).wait_s is None


def test_a_node_that_is_too_small_says_so() -> None:
    room = make_room(view([], wirable=5), NODE, 10, PERSON)

    assert room.why == "all that models may take on studio is too little"


def test_people_come_before_requests_and_then_who_began_to_wait_first() -> None:
    late, early = Claim("b", "demand", 2.0), Claim("a", "demand", 1.0)
    person = Claim("c", "operator", 3.0)

    assert sorted([late, early, person], key=lambda c: c.turn) == [person, early, late]
