"""What the doctor says of cables between Macs."""

import pytest

from ops.doctor.cables import cables, declared_cables
from ops.doctor.finding import Finding
from proto.cluster import ClusterConfig, ClusterMember
from proto.examination import Examined, RdmaPort, RdmaState, ThunderboltPort
from proto.ids import NodeId
from tests.unit.ops.doctor.test_findings import A, B, machine

C = NodeId("c")


def port(number: int, domain: str, peer: str = "") -> ThunderboltPort:
    return ThunderboltPort(
        port=str(number), device=f"rdma_en{number}", domain=domain, peer=peer, speed="80 Gb/s"
    )


def cabled(state: RdmaState = "active") -> dict[NodeId, Examined]:
    """Port 2 of a leads to port 5 of b, and port 3 of a to something that was not asked."""
    rdma = tuple(RdmaPort(device=f"rdma_en{n}", state=state) for n in (2, 3, 5))
    return {
        A: machine(A, rdma=rdma, thunderbolt=(port(2, "A2", "B5"), port(3, "A3", "X1"))),
        B: machine(B, rdma=rdma, thunderbolt=(port(2, "B2"), port(5, "B5", "A2"))),
        C: machine(C, rdma=rdma, thunderbolt=(port(2, "C2"),)),
    }


def judged(a_to_b: str, b_to_a: str) -> dict[str, Finding]:
    members = (
        ClusterMember(node="a", rdma_to={"b": a_to_b}),
        ClusterMember(node="b", rdma_to={"a": b_to_a}),
    )
    told = ClusterConfig(members=members, backend="jaccl")
    return {found.subject: found for found in declared_cables("desk", told, cabled())}


def test_cables_are_told_as_rdma_to_would_name_them() -> None:
    found = list(cables(cabled()))

    assert [(f.level, f.subject, f.said) for f in found] == [
        ("OK", "a → b", "Thunderbolt 2, 80 Gb/s: `b: rdma_en2`"),
        ("OK", "b → a", "Thunderbolt 5, 80 Gb/s: `a: rdma_en5`"),
    ]


def test_a_cable_whose_rdma_port_is_down_is_doubtful() -> None:
    assert {f.level for f in cables(cabled("down"))} == {"WARN"}


def test_the_declared_devices_are_those_that_the_cables_are_in() -> None:
    found = judged("rdma_en2", "rdma_en5")

    assert {f.level for f in found.values()} == {"OK"}


def test_a_device_of_another_port_is_corrected() -> None:
    found = judged("rdma_en3", "rdma_en5")

    assert found["a → b"].level == "FAIL"
    assert "write `b: rdma_en2` in `rdma_to` of a" in found["a → b"].said
    assert found["b → a"].level == "OK"


def test_a_cable_that_is_not_there_is_missed() -> None:
    members = (
        ClusterMember(node="a", rdma_to={"c": "rdma_en3"}),
        ClusterMember(node="c", rdma_to={"a": "rdma_en2"}),
    )
    told = ClusterConfig(members=members, backend="jaccl")
    found = list(declared_cables("desk", told, cabled()))

    assert [f.level for f in found] == ["FAIL", "FAIL"]
    assert "no Thunderbolt cable leads from a to c" in found[0].said


@pytest.mark.parametrize("blind", [A, B])
def test_where_the_system_says_nothing_of_cables_the_declared_ones_are_believed(
    blind: NodeId,
) -> None:
    told = cabled()
    told[blind] = machine(blind, rdma=told[blind].rdma)
    members = (
        ClusterMember(node="a", rdma_to={"b": "rdma_en3"}),
        ClusterMember(node="b", rdma_to={"a": "rdma_en2"}),
    )
    found = declared_cables("desk", ClusterConfig(members=members, backend="jaccl"), told)

    assert {f.level for f in found} == {"OK"}
