"""Sizes, times and orders as people read them."""

import pytest

from ops import words
from proto.jobs import Convert, Drain, Load, Order, Pin, Pull, Remove, RemoveNode, Restart, Sync


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (5400, "2 h"), (3600, "1 h"), (172_800, "2 d")],
)
def test_a_duration_has_one_unit(seconds: float, told: str) -> None:
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (Load(model="m"), "load m"),
        (Load(model="m", nodes=("a", "b")), "load m on a, b"),
        (Load(model="m", way="tensor", ranks=2, cluster="g"), "load m by tensor by 2 ranks of g"),
        (Pull(model="m", revision="v1"), "pull m@v1"),
        (Pin(model="m", is_pinned=False), "unpin m"),
        (Sync(model="m", nodes=("b",)), "sync m on b"),
        (Convert(model="m", name="n"), "convert m to n"),
        (Remove(model="m"), "rm m"),
        (Drain(node="a"), "drain a"),
        (Restart(node="a"), "restart a"),
        (RemoveNode(node="a"), "remove a"),
    ],
)
def test_an_order_is_told_as_it_is_typed(order: Order, told: str) -> None:
    assert words.ordered(order) == told
