"""Which nodes would serve a model together, and what stands against others."""

from typing import Any

import pytest
from msgspec import structs

from proto.choice import Choice, Weigh
from proto.cluster import ClusterConfig, ClusterMember
from proto.config import Config
from proto.errors import MeshError
from proto.layout import Layout
from proto.memory import Footprint
from proto.store import StoredModel
from services.scheduler.weighing import weigh
from tests.unit.scheduler.paper import GB, Paper, placed, stored

LARGE = Footprint(weights_bytes=11 * GB, kv_bytes_per_token=1000, context_length=8192)
LAYOUT = Layout(
    layer_bytes=(GB,) * 10, outer_bytes=GB, kv_bytes=(100,) * 10, read_bytes=11 * GB,
    divided={"attention heads": 8, "KV heads": 4}, is_divisible=True, is_stageable=True,
)  # fmt: skip


def large(**layout: Any) -> StoredModel:
    return stored("m", family="qwen2", footprint=LARGE, layout=structs.replace(LAYOUT, **layout))


def fleet(*nodes: str, wirable: int = 8 * GB, **layout: Any) -> Paper:
    """All of them have the files."""
    mesh = Paper(*nodes, wirable=wirable)
    for node in nodes:
        mesh.store(node, large(**layout))
    return mesh


def chosen(mesh: Paper, **asked: Any) -> Choice:
    return weigh(Weigh(model="m", **asked), mesh.view).choices[0]


def refused(mesh: Paper, way: str, ranks: int, **asked: Any) -> str:
    found = weigh(Weigh(model="m", **asked), mesh.view).choices
    return next(c.why_not for c in found if c.way == way and len(c.shares) == ranks)


def nodes(choice: Choice) -> list[str]:
    return [share.node for share in choice.shares]


def link(latency_us: float | None = None, backend: str = "jaccl") -> Config:
    members = (
        ClusterMember(node="b", rdma_to={"a": "en1"}),
        ClusterMember(node="a", rdma_to={"b": "en2"}),
    )
    told = ClusterConfig(members=members, backend=backend, latency_us=latency_us)
    return Config(clusters={"garage": told})


def test_one_node_comes_before_several() -> None:
    mesh = fleet("a", "b", wirable=20 * GB)

    assert (chosen(mesh).way, nodes(chosen(mesh))) == ("solo", ["a"])


def test_what_fits_on_no_node_is_shared_by_as_few_as_it_takes() -> None:
    assert nodes(chosen(fleet("a", "b", "c"))) == ["a", "b"]
    assert len(nodes(chosen(fleet("a", "b", "c", wirable=6 * GB)))) == 3


def test_several_meet_by_slow_links_in_turn_and_by_fast_ones_in_every_layer() -> None:
    mesh = fleet("a", "b", layer_bytes=(GB // 10,) * 100, kv_bytes=(10,) * 100)
    assert (chosen(mesh).way, chosen(mesh).backend) == ("pipeline", "ring")
    mesh.config = link()
    found = chosen(mesh)

    assert (found.way, found.backend, found.cluster) == ("tensor", "jaccl", "garage")
    assert nodes(found) == ["b", "a"]


def test_what_an_operator_says_of_a_link_counts() -> None:
    mesh = fleet("a", "b")
    mesh.config = link(latency_us=50_000)

    assert chosen(mesh).way == "pipeline"


def test_layers_go_by_memory() -> None:
    mesh = fleet("a", "b")
    mesh.nodes["b"] = structs.replace(mesh.nodes["b"], wirable_bytes=14 * GB)
    found = chosen(mesh, way="pipeline")

    assert nodes(found) == ["b", "a"]
    assert [share.layers for share in found.shares] == [7, 3]


@pytest.mark.parametrize(
    ("way", "ranks", "layout", "words"),
    [
        ("tensor", 3, {}, "3 ranks do not divide its 8 attention heads, 4 KV heads"),
        ("tensor", 2, {"is_divisible": False}, "mlx-lm cannot divide the layers of a qwen2"),
        ("pipeline", 2, {"is_stageable": False}, "mlx-lm cannot give the layers of a qwen2"),
        ("pipeline", 3, {"layer_bytes": (GB, GB), "kv_bytes": (0, 0)}, "2 layers for 3 ranks"),
        ("solo", 1, {}, "a has 8.0 GB for a model of 11.8 GB"),
    ],
)  # fmt: skip
def test_what_stands_against_a_way_is_told(
    way: str, ranks: int, layout: dict[str, Any], words: str
) -> None:
    assert words in refused(fleet("a", "b", "c", **layout), way, ranks)


def test_a_node_that_has_too_little_is_named() -> None:
    mesh = fleet("a", "b")
    mesh.place("b", placed("e", "other", 6 * GB, is_pinned=True))

    assert "b has 2.0 GB for a part of 6." in refused(mesh, "tensor", 2)


def test_models_that_may_go_make_room_but_only_where_they_have_to() -> None:
    mesh = fleet("a", "b", "c")
    mesh.place("b", placed("e", "other", 6 * GB))
    assert nodes(chosen(mesh)) == ["a", "c"]
    mesh.fall_silent("c")
    found = chosen(mesh)

    assert (found.needs_room, set(nodes(found))) == (True, {"a", "b"})


def test_nodes_with_the_files_come_first() -> None:
    mesh = fleet("b", "c")
    mesh.nodes["a"] = structs.replace(mesh.nodes["b"], node="a")

    assert nodes(chosen(mesh)) == ["b", "c"]


def test_named_nodes_are_ranks_in_that_order() -> None:
    mesh = fleet("a", "b", "c", wirable=20 * GB)

    assert nodes(chosen(mesh, nodes=("c", "a"))) == ["c", "a"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cluster": "none"}, "No cluster 'none' is declared. There are: garage."),
        ({"nodes": ("a", "b"), "ranks": 3}, "3 ranks cannot be on 2 nodes"),
        ({"nodes": ("a", "z")}, "No node 'z' is heard. There are: a, b."),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(asked: dict[str, Any], words: str) -> None:
    mesh = fleet("a", "b")
    mesh.config = link()
    with pytest.raises(MeshError, match=words):
        weigh(Weigh(model="m", **asked), mesh.view)


def test_what_is_loaded_counts_as_if_it_were_not() -> None:
    mesh = fleet("a", "b", wirable=13 * GB)
    mesh.place("a", placed("e", "m", 12 * GB))

    assert nodes(chosen(mesh)) == ["a"]


def test_a_limit_is_told_in_tokens_where_chips_are_known_and_else_against_one_node() -> None:
    mesh = fleet("a", "b")
    found = chosen(mesh, way="pipeline")
    assert found.tokens_per_s == 0.0
    assert 0.8 < found.speed < 1.0
    for node in ("a", "b"):
        mesh.nodes[node] = structs.replace(mesh.nodes[node], chip="Apple M2 Ultra")
    found = chosen(mesh, way="pipeline")

    assert found.tokens_per_s == pytest.approx(800 / 12, rel=0.1)
