"""The schedule comes from the seed alone and breaks one thing at a time."""

from itertools import pairwise

from ops.bench._chaos.faults import CLIENTS, FAULTS, MESH
from ops.bench._chaos.schedule import LAST_S, planned


def test_a_seed_always_gives_the_same_schedule() -> None:
    assert planned(7, 600, MESH) == planned(7, 600, MESH)
    assert planned(7, 600, MESH) != planned(8, 600, MESH)


def test_one_thing_is_broken_at_a_time_and_nothing_at_the_end() -> None:
    plan = planned(3, 600, MESH)

    assert all(a.at_s + a.lasts_s < b.at_s for a, b in pairwise(plan))
    assert plan[-1].at_s + plan[-1].lasts_s <= 600 - LAST_S
    assert all(each.target in each.fault.targets for each in plan)


def test_ten_minutes_have_every_fault() -> None:
    names = {each.fault.name for kinds in (MESH, CLIENTS) for each in planned(1, 650, kinds)}

    assert names == set(FAULTS)
