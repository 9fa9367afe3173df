"""On which nodes a model is placed."""

import pytest
from msgspec import structs

from proto.errors import MeshError
from services.scheduler.placing.placing import Wish, choose
from tests.unit.scheduler.paper import GB, Paper, placed, stored

M = Wish(model="m")


def everywhere(*nodes: str) -> Paper:
    mesh = Paper(*nodes)
    for node in nodes:
        mesh.store(node, stored("m"))
    return mesh


def test_a_node_that_serves_it_counts_first() -> None:
    mesh = everywhere("a", "b")
    mesh.place("b", placed("e", "m"))

    assert choose(mesh.view, M, 1) == ("b",)
    assert choose(mesh.view, M, 2) == ("b", "a")


def test_room_comes_before_making_room_and_that_before_fetching() -> None:
    mesh = Paper("fetches", "full", "has_room")
    for node in ("full", "has_room"):
        mesh.store(node, stored("m"))
    mesh.place("full", placed("e", "old", 2 * GB))

    assert choose(mesh.view, M, 3) == ("has_room", "full", "fetches")


def test_among_equals_the_most_free_memory_then_the_first_name_decides() -> None:
    mesh = everywhere("a", "b", "c")
    mesh.place("a", placed("e", "other"))

    assert choose(mesh.view, M, 3) == ("b", "c", "a")


def test_nodes_where_it_can_never_run_are_left_out() -> None:
    mesh = everywhere("drained", "pinned", "quarantined", "good")
    mesh.place("pinned", placed("e", "old", 2 * GB, is_pinned=True))
    mesh.quarantine("quarantined", "m")
    mesh.plans["drained"] = structs.replace(mesh.plan("drained"), is_drained=True)

    assert choose(mesh.view, M, 1) == ("good",)
    with pytest.raises(MeshError, match="fits on good and nowhere else"):
        choose(mesh.view, M, 2)


def test_who_may_not_make_room_takes_what_is_free_only() -> None:
    mesh = everywhere("a", "b")
    mesh.place("a", placed("e", "old", 2 * GB))
    wish = Wish(model="m", makes_room=False)

    with pytest.raises(MeshError):
        choose(mesh.view, wish, 2)
    assert choose(mesh.view, wish, 1) == ("b",)


def test_a_node_may_be_left_out_though_it_serves_it() -> None:
    mesh = everywhere("a", "b")
    mesh.place("a", placed("e", "m"))

    assert choose(mesh.view, M, 1, without=frozenset(["a"])) == ("b",)
