"""Who waits for an upstream, and who is next."""

import pytest

from proto.errors import Code, MeshError
from proto.ids import KeyId
from proto.placement import Priority
from services.cloud.turns import PLACES, Ticket, Turns


def take(
    turns: Turns, key: str = "ann", weight: float = 1.0, priority: Priority = "interactive"
) -> Ticket:
    return turns.take(KeyId(key), weight, priority)


def called(turns: Turns, running: Ticket, waiting: dict[str, Ticket]) -> list[str]:
    """The names in the order in which they are called, each ending before the next."""
    order: list[str] = []
    while waiting:
        turns.leave(running)
        name, running = next((n, t) for n, t in waiting.items() if t.called.is_set())
        order.append(name)
        del waiting[name]
    return order


def test_who_finds_no_slot_waits_and_is_told_its_place() -> None:
    turns = Turns("box", 1)

    first, second, third = take(turns), take(turns), take(turns)

    assert [t.called.is_set() for t in (first, second, third)] == [True, False, False]
    assert [turns.place(t) for t in (first, second, third)] == [0, 0, 1]
    assert (turns.running, turns.waiting) == (1, 2)


def test_keys_take_turns_however_many_requests_one_of_them_has() -> None:
    turns = Turns("box", 1)
    running = take(turns, "ann")
    waiting = {f"ann{n}": take(turns, "ann") for n in range(3)}
    waiting |= {f"bob{n}": take(turns, "bob") for n in range(2)}

    assert called(turns, running, waiting) == ["ann0", "bob0", "ann1", "bob1", "ann2"]


def test_a_weight_of_two_is_two_turns_in_three() -> None:
    turns = Turns("box", 1)
    running = take(turns, "idle")
    waiting = {f"light{n}": take(turns, "light") for n in range(4)}
    waiting |= {f"heavy{n}": take(turns, "heavy", weight=2) for n in range(4)}

    assert sum(name.startswith("heavy") for name in called(turns, running, waiting)[:6]) == 4


def test_batch_waits_as_long_as_anything_else_does() -> None:
    turns = Turns("box", 1)
    running = take(turns)
    waiting = {"batch": take(turns, "bob", priority="batch"), "late": take(turns, "ann")}
    assert turns.batch == 1

    assert called(turns, running, waiting) == ["late", "batch"]


def test_who_waits_no_longer_leaves_its_place_to_the_next() -> None:
    turns = Turns("box", 1)
    running, bored, patient = take(turns), take(turns), take(turns)

    turns.leave(bored)
    assert turns.place(patient) == 0
    turns.leave(running)

    assert patient.called.is_set()
    assert not bored.called.is_set()


def test_more_slots_call_who_waits_and_fewer_end_nobody() -> None:
    turns = Turns("box", 1)
    tickets = [take(turns) for _ in range(3)]

    turns.slots = 3
    assert all(ticket.called.is_set() for ticket in tickets)
    turns.slots = 1

    assert (turns.running, take(turns).called.is_set()) == (3, False)


def test_a_full_line_refuses_and_says_when_to_come_again() -> None:
    turns = Turns("box", 1)
    for _ in range(1 + PLACES):
        take(turns)

    with pytest.raises(MeshError) as refused:
        take(turns)

    assert refused.value.code is Code.QUEUE_FULL
    assert refused.value.retry_after_s == 1.0
