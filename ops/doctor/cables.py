"""Cables between Macs: those that are there, and both ends of each that a cluster declares."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ops.doctor.finding import Finding, bad, doubtful, good
from proto.cluster import ClusterConfig
from proto.examination import Examined, ThunderboltPort
from proto.ids import NodeId

Told = Mapping[NodeId, Examined]


class End(NamedTuple):
    """Of a cable: the port here, and the node at the other end."""

    port: ThunderboltPort
    peer: NodeId


def cables(told: Told) -> Iterator[Finding]:
    """What `rdma_to` of each node would say of its Thunderbolt cables to other nodes."""
    for node, ends in _ends(told).items():
        states = {port.device: port.state for port in told[node].rdma}
        for port, peer in ends:
            speed = f", {port.speed}" if port.speed else ""
            said = f"Thunderbolt {port.port}{speed}: `{peer}: {port.device or 'unknown'}`"
            if states.get(port.device) == "down":
                yield doubtful(
                    f"{node} → {peer}", "thunderbolt", f"{said}, whose RDMA port is down: RDMA may "
                    "not be enabled at the other end (docs/jaccl.md)",
                )  # fmt: skip
            else:
                yield good(f"{node} → {peer}", "thunderbolt", said)


def _ends(told: Told) -> dict[NodeId, list[End]]:
    """Of each node, those that lead to another one that was asked."""
    owners = {port.domain: node for node, each in told.items() for port in each.thunderbolt}
    return {
        node: [
            End(port, owners[port.peer])
            for port in each.thunderbolt
            if owners.get(port.peer, node) != node
        ]
        for node, each in told.items()
    }


def declared_cables(name: str, cluster: ClusterConfig, told: Told) -> Iterator[Finding]:
    """Both ends of each edge that the cluster declares."""
    ends = _ends(told)
    for member in cluster.members:
        for peer, device in member.rdma_to.items():
            if member.id in told:
                leads = ends[member.id]
                yield _declared(name, told[member.id], device, NodeId(peer), leads, told)


def _declared(
    cluster: str, told: Examined, device: str, peer: NodeId, ends: list[End], others: Told
) -> Finding:
    subject = f"{told.node} → {peer}"
    state = next((port.state for port in told.rdma if port.device == device), None)
    if not told.rdma:
        return bad(
            subject, "rdma", "the machine has no RDMA device: start it in recovery and run "
            "`rdma_ctl enable` (docs/jaccl.md), or give the cluster the ring backend",
        )  # fmt: skip
    if state is None:
        known = ", ".join(port.device for port in told.rdma)
        return bad(
            subject, "rdma", f"cluster {cluster} names {device}, and there are {known}: correct "
            "`rdma_to` by what `ibv_devices` lists",
        )  # fmt: skip
    right = [end.port.device for end in ends if end.peer == peer and end.port.device]
    if right and device not in right:
        return bad(
            subject, "rdma", f"cluster {cluster} names {device}, and the cable to {peer} is in "
            f"another port: write `{peer}: {right[0]}` in `rdma_to` of {told.node}",
        )  # fmt: skip
    is_seen = bool(told.thunderbolt) and peer in others and bool(others[peer].thunderbolt)
    if is_seen and not right:
        return bad(
            subject, "rdma", f"no Thunderbolt cable leads from {told.node} to {peer}: connect them "
            "directly, without a dock between",
        )  # fmt: skip
    if state == "down":
        return bad(
            subject, "rdma", f"{device} is down: is the cable in, at both ends, and the interface "
            "up and without a bridge? See docs/jaccl.md",
        )  # fmt: skip
    return good(subject, "rdma", f"{device} is active")
