"""Who meets whom, and where, by the links that agents have measured."""

from typing import Any

import pytest
from msgspec import structs

from proto.choice import Choice, Weigh
from proto.cluster import ClusterConfig, ClusterMember
from proto.config import Config
from proto.ids import NodeId
from proto.jobs import Load
from proto.link import Link
from services.scheduler.weighing import weigh
from tests.unit.scheduler.large import fleet, group
from tests.unit.scheduler.paper import GB, Paper

LAN, CABLE = "10.0.0.{}", "10.9.0.{}"
SLOW_S, FAST_S = 0.002, 0.0001
"""There and back."""


def ways(mesh: Paper, one: str, other: str, round_trip_s: float | None, **said: Any) -> None:
    """Both measure one another, at one more address."""
    for here, there in ((one, other), (other, one)):
        beat = mesh.nodes[here]
        address = said.get("address", LAN).format(there)
        link = Link(
            peer=NodeId(there),
            address=address,
            is_usual=address.startswith("10.0."),
            round_trip_s=round_trip_s,
            bytes_per_s=said.get("bytes_per_s", 1e9),
            trouble="" if round_trip_s else "no answer in 0.5 s",
        )
        mesh.nodes[here] = structs.replace(beat, links=(*beat.links, link))


def weighed(mesh: Paper, **asked: Any) -> tuple[Choice, ...]:
    return weigh(Weigh(model="m", **asked), mesh.view).choices


def nodes(choice: Choice) -> list[str]:
    return [share.node for share in choice.shares]


def test_what_is_measured_takes_the_place_of_what_is_usual() -> None:
    mesh = fleet("a", "b")
    assumed = weighed(mesh)[0].hop
    ways(mesh, "a", "b", FAST_S, bytes_per_s=5e8)
    measured = weighed(mesh)[0].hop

    assert assumed
    assert (assumed.latency_s, assumed.is_measured) == (300e-6, False)
    assert measured
    assert (measured.latency_s, measured.is_measured) == (FAST_S / 2, True)
    assert measured.bytes_per_s == 5e8
    assert measured.tokens_per_s > 3 * assumed.tokens_per_s


def test_a_group_is_formed_over_the_faster_link() -> None:
    mesh = fleet("a", "b", "c")
    ways(mesh, "a", "b", SLOW_S * 5)
    ways(mesh, "b", "c", SLOW_S * 5)
    ways(mesh, "a", "c", FAST_S)

    assert nodes(weighed(mesh)[0]) == ["a", "c"]


def test_links_that_are_much_alike_decide_nothing() -> None:
    mesh = fleet("a", "b", "c")
    ways(mesh, "a", "b", FAST_S * 1.2)
    ways(mesh, "a", "c", FAST_S)
    ways(mesh, "b", "c", FAST_S)

    assert nodes(weighed(mesh)[0]) == ["a", "b"]


def test_nodes_that_do_not_reach_one_another_are_not_grouped_and_that_is_said() -> None:
    mesh = fleet("a", "b", "c")
    ways(mesh, "a", "b", None)
    ways(mesh, "a", "c", SLOW_S)
    ways(mesh, "b", "c", SLOW_S)
    found = weighed(mesh)

    assert nodes(found[0]) == ["a", "c"]
    refused = [choice.why_not for choice in found if nodes(choice) in (["a", "b"], ["b", "a"])]
    assert refused
    for why_not in refused:
        assert "a does not reach b at 10.0.0.b (no answer in 0.5 s)" in why_not


def test_an_order_for_nodes_that_do_not_reach_one_another_is_refused() -> None:
    mesh = fleet("a", "b")
    ways(mesh, "a", "b", None)
    job = mesh.submit(Load(model="m", way="tensor", nodes=("a", "b")))

    assert job.state == "failed"
    assert "does not reach" in job.detail


def test_ranks_meet_at_the_addresses_of_the_faster_network() -> None:
    mesh = fleet("a", "b")
    ways(mesh, "a", "b", SLOW_S)
    ways(mesh, "a", "b", FAST_S, address=CABLE)
    mesh.submit(Load(model="m", way="tensor", nodes=("a", "b")))
    for _ in range(3):
        mesh.look(mesh.jobs["j1"])

    assert [member.address for member in group(mesh).members] == ["10.9.0.a", "10.9.0.b"]


def test_one_that_is_little_faster_is_not_worth_another_address() -> None:
    mesh = fleet("a", "b")
    ways(mesh, "a", "b", FAST_S)
    ways(mesh, "a", "b", FAST_S * 0.9, address=CABLE)

    assert [share.address for share in weighed(mesh)[0].shares] == ["", ""]


def test_a_network_that_not_all_of_them_share_is_not_met_on() -> None:
    mesh = fleet("a", "b", "c", wirable=6 * GB)
    for pair in ("ab", "ac", "bc"):
        ways(mesh, *pair, SLOW_S)
    ways(mesh, "a", "b", FAST_S, address=CABLE)
    (found,) = [c for c in weighed(mesh, way="pipeline") if len(c.shares) == 3]

    assert [share.address for share in found.shares] == ["", "", ""]


@pytest.mark.parametrize(("latency_us", "latency_s"), [(50.0, 50e-6), (None, FAST_S / 2)])
def test_an_operators_word_comes_before_what_was_measured(
    latency_us: float | None, latency_s: float
) -> None:
    mesh = fleet("a", "b")
    members = tuple(ClusterMember(node=n, address=CABLE.format(i)) for i, n in enumerate("ab"))
    mesh.config = Config(clusters={"desk": ClusterConfig(members=members, latency_us=latency_us)})
    ways(mesh, "a", "b", SLOW_S)
    for here, there, at in (("a", "b", 1), ("b", "a", 0)):
        beat = mesh.nodes[here]
        link = Link(peer=NodeId(there), address=CABLE.format(at), round_trip_s=FAST_S)
        mesh.nodes[here] = structs.replace(beat, links=(*beat.links, link))
    found = weighed(mesh, cluster="desk")[0]

    assert found.hop
    assert found.hop.latency_s == pytest.approx(latency_s)
    assert [share.address for share in found.shares] == ["10.9.0.0", "10.9.0.1"]


def test_tcp_says_nothing_of_rdma() -> None:
    mesh = fleet("a", "b")
    members = (
        ClusterMember(node="a", rdma_to={"b": "en1"}),
        ClusterMember(node="b", rdma_to={"a": "en2"}),
    )
    mesh.config = Config(clusters={"desk": ClusterConfig(members=members, backend="jaccl")})
    ways(mesh, "a", "b", SLOW_S)
    found = weighed(mesh, cluster="desk")[0]

    assert found.hop
    assert (found.hop.latency_s, found.hop.is_measured) == (30e-6, False)


def test_large_messages_make_a_thin_link_the_slower_one() -> None:
    mesh = fleet("a", "b")
    for node in mesh.nodes:
        (known,) = mesh.stores[node].models
        assert known.layout
        wide = structs.replace(known.layout, token_bytes=16_384)
        mesh.store(node, structs.replace(known, layout=wide))
    ways(mesh, "a", "b", FAST_S, bytes_per_s=1e6)
    thin = weighed(mesh)[0].hop
    mesh.nodes = {n: structs.replace(beat, links=()) for n, beat in mesh.nodes.items()}
    ways(mesh, "a", "b", FAST_S, bytes_per_s=1e9)
    thick = weighed(mesh)[0].hop

    assert thin
    assert thick
    assert thin.tokens_per_s < thick.tokens_per_s / 10
