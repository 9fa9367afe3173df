"""What the doctor says of what it has seen."""

from typing import Any

import pytest
from msgspec.structs import replace

from ops.doctor.finding import Finding
from ops.doctor.findings import Asked, Seen, exit_status, findings
from proto.cluster import ClusterConfig, ClusterMember
from proto.examination import Examined, RdmaPort, Reached
from proto.ids import NodeId
from proto.link import Link
from proto.overview import NodeView, Overview

A, B = NodeId("a"), NodeId("b")
GIB = 1 << 30
PORTS = (RdmaPort(device="rdma_en2", state="active"),)


def machine(node: NodeId, **other: Any) -> Examined:
    usual: dict[str, Any] = {
        "node": node, "now_s": 0.0, "system": "macOS 26.2", "memory_bytes": 64 * GIB,
        "wirable_bytes": 56 * GIB, "wired_limit_bytes": 56 * GIB, "disk_bytes": 900 * GIB,
        "free_disk_bytes": 500 * GIB, "versions": {"mlx": "0.32.4"}, "address": f"{node}:7000",
        "rdma": PORTS,
    }  # fmt: skip
    return Examined(**usual | other)


def seen(*told: Examined, round_trip_s: float = 0.001, skew_s: float = 0.0, **more: Any) -> Seen:
    nodes = tuple(NodeView(node=each.node, state="alive", host="") for each in told)
    overview = Overview(leader="s1", nodes=nodes, models=(), jobs=())
    asked = {each.node: Asked(each, round_trip_s, skew_s) for each in told}
    return Seen(overview=overview, nodes=asked, **more)


def only(found: Seen, check: str) -> Finding:
    (one,) = [each for each in findings(found) if each.check == check]
    return one


def test_a_mesh_that_is_well_is_said_to_be_so() -> None:
    ways = (Reached(address="b:7000", connect_s=0.0002),)
    found = list(findings(seen(machine(A, reached=ways), machine(B))))
    assert {each.level for each in found} == {"OK"}
    assert exit_status(found) == 0
    assert "a → b" in {each.subject for each in found}


@pytest.mark.parametrize(
    ("told", "check", "level", "remedy"),
    [
        ({"free_disk_bytes": GIB // 2}, "disk", "FAIL", "odyssai rm"),
        ({"free_disk_bytes": 10 * GIB}, "disk", "WARN", "odyssai rm"),
        ({"wired_limit_bytes": 63 * GIB}, "wired limit", "FAIL", "wired_limit_mb=57344"),
        ({"wired_limit_bytes": 0}, "wired limit", "WARN", "wired_limit_mb=57344"),
        ({"address": ""}, "files", "WARN", "ODYSSAI_FILES_HOST"),
        (
            {"reached": (Reached(address="b:7000", trouble="no answer in 2 s"),)},
            "reach", "FAIL", "firewall",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_machine_is_said_with_its_remedy(
    told: dict[str, Any], check: str, level: str, remedy: str
) -> None:
    found = only(seen(machine(A, **told)), check)
    assert (found.level, remedy in found.said) == (level, True), found


def test_a_small_machine_needs_no_wired_limit_and_linux_has_none() -> None:
    small = seen(machine(A, wired_limit_bytes=0, memory_bytes=16 * GIB))
    assert only(small, "wired limit").level == "OK"
    linux = findings(seen(machine(A, system="Linux 6.8")))
    assert "wired limit" not in {each.check for each in linux}


@pytest.mark.parametrize(("round_trip_s", "level"), [(0.049, "OK"), (0.051, "WARN"), (0.6, "FAIL")])
def test_a_slow_way_to_the_bus_is_noticed(round_trip_s: float, level: str) -> None:
    assert only(seen(machine(A), round_trip_s=round_trip_s), "bus").level == level


@pytest.mark.parametrize(
    ("skew_s", "round_trip_s", "level"),
    [(1.9, 0.0, "OK"), (-2.5, 0.0, "WARN"), (2.5, 2.0, "OK")],
)
def test_a_clock_is_off_only_beyond_what_the_questions_way_leaves_open(
    skew_s: float, round_trip_s: float, level: str
) -> None:
    found = only(seen(machine(A), skew_s=skew_s, round_trip_s=round_trip_s), "clock")
    assert found.level == level


def test_who_differs_from_most_is_named() -> None:
    odd = machine(NodeId("c"), versions={"mlx": "0.31.0"})
    found = only(seen(machine(A), machine(B), odd), "mlx")
    assert found.level == "WARN"
    assert "0.32.4 on most nodes, but c 0.31.0" in found.said


def test_silent_nodes_and_those_that_do_not_answer_fail() -> None:
    there = seen(machine(A), machine(B))
    silent = replace(there.overview.nodes[0], state="silent")
    overview = replace(there.overview, nodes=(silent, there.overview.nodes[1]), leader="")
    found = list(findings(Seen(overview=overview, nodes={})))
    failed = {(each.subject, each.check) for each in found if each.level == "FAIL"}
    assert failed == {("a", "presence"), ("b", "presence"), ("mesh", "scheduler")}
    assert exit_status(found) == 1


@pytest.mark.parametrize(
    ("rdma", "level", "remedy"),
    [
        (PORTS, "OK", "rdma_en2 is active"),
        ((RdmaPort(device="rdma_en2", state="down"),), "FAIL", "is the cable in"),
        ((RdmaPort(device="rdma_en5", state="active"),), "FAIL", "there are rdma_en5"),
        ((), "FAIL", "rdma_ctl enable"),
    ],
)
def test_each_end_of_a_cable_is_looked_at(
    rdma: tuple[RdmaPort, ...], level: str, remedy: str
) -> None:
    members = (
        ClusterMember(node="a", rdma_to={"b": "rdma_en2"}),
        ClusterMember(node="b", rdma_to={"a": "rdma_en2"}),
    )
    clusters = {"desk": ClusterConfig(members=members, backend="jaccl")}
    found = findings(seen(machine(A), machine(B, rdma=rdma), clusters=clusters))
    ends = {each.subject: each for each in found if each.check == "rdma"}
    assert ends["a → b"].level == "OK"
    assert (ends["b → a"].level, remedy in ends["b → a"].said) == (level, True)


def linked(there: Link | None, back: Link | None) -> Seen:
    """Two machines that have measured one another."""
    found = seen(machine(A), machine(B))
    measured = {A: there, B: back}
    nodes = tuple(
        replace(node, links=tuple(filter(None, (measured[node.node],))))
        for node in found.overview.nodes
    )
    return Seen(overview=replace(found.overview, nodes=nodes), nodes=found.nodes)


def link(peer: NodeId, round_trip_s: float | None = 0.0002, bytes_per_s: float = 1e9) -> Link:
    trouble = "" if round_trip_s else "no answer in 0.5 s"
    return Link(
        peer=peer, address=f"10.0.0.{peer}", round_trip_s=round_trip_s, bytes_per_s=bytes_per_s,
        trouble=trouble,
    )  # fmt: skip


def test_a_fast_link_is_said_with_its_figures() -> None:
    found = [f for f in findings(linked(link(B), link(A))) if f.check == "link"]
    assert [(f.level, f.subject) for f in found] == [("OK", "a → b"), ("OK", "b → a")]
    assert found[0].said == "200 µs, 1.0 GB/s over 10.0.0.b"


@pytest.mark.parametrize(
    ("there", "back", "subject", "words"),
    [
        (link(B, 0.005), link(A), "a → b", "5 ms, 1.0 GB/s over 10.0.0.b: slow"),
        (link(B, bytes_per_s=20e6), link(A, bytes_per_s=20e6), "b → a", "20 MB/s"),
        (link(B, bytes_per_s=2e9), link(A, bytes_per_s=4e8), "a ↔ b", "400 MB/s there"),
        (link(B, None), link(A), "a ↔ b", "one reaches the other and is not reached"),
        (link(B, None), link(A, None), "a → b", "not reached (no answer in 0.5 s)"),
    ],
)  # fmt: skip
def test_a_link_that_is_slow_or_unlike_both_ways_is_doubtful(
    there: Link, back: Link, subject: str, words: str
) -> None:
    found = [f for f in findings(linked(there, back)) if f.level == "WARN"]
    assert subject in {f.subject for f in found}
    assert any(words in f.said for f in found), found


def test_of_links_that_are_faster_than_the_machines_measure_nothing_is_said() -> None:
    found = list(findings(linked(link(B, bytes_per_s=4e9), link(A, bytes_per_s=6e8))))
    assert {f.level for f in found if f.check == "link"} == {"OK"}


def test_links_that_were_not_measured_yet_are_not_judged() -> None:
    assert not [f for f in findings(linked(None, None)) if f.check == "link"]
