"""Clusters: nodes that an operator declares fit to serve one model together, and their links."""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import combinations
from typing import Annotated

from msgspec import Meta, Struct

from proto.group import Backend
from proto.ids import NodeId

Name = Annotated[str, Meta(min_length=1)]


class ClusterFault(ValueError):
    """A cluster that could not work, with what to do about it."""

    def __init__(self, path: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.path = path
        """Where in the cluster, by names and places in lists."""


class ClusterMember(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A node, by the links that lead from it to the other members."""

    node: Name
    address: str = ""
    """Of the node on the link to the others; empty: the one by which it reaches the bus."""
    rdma_to: dict[str, Name] = {}
    """jaccl: by member, the RDMA device that leads there, as ``ibv_devices`` lists it."""

    @property
    def id(self) -> NodeId:
        return NodeId(self.node)


class ClusterConfig(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Replaced as a whole by a higher layer: half a cluster is none."""

    members: tuple[ClusterMember, ...]
    """By rank, where nothing else decides."""
    backend: Backend = "ring"
    latency_us: Annotated[float, Meta(gt=0)] | None = None
    """Of a message from member to member, in microseconds; None: what is usual."""

    def __post_init__(self) -> None:
        """Raises ClusterFault."""
        for fault in faults(self):
            raise fault

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(member.id for member in self.members)


def faults(cluster: ClusterConfig) -> Iterator[ClusterFault]:
    """The worst first."""
    if len(cluster.members) < 2:
        yield ClusterFault(("members",), "a cluster takes at least two members; name another node")
    yield from _twice(cluster)
    for at, member in enumerate(cluster.members):
        yield from _bad_links(cluster, at, member)
    yield from _one_way(cluster)
    if cluster.backend == "jaccl":
        yield from _gaps(cluster)


def _twice(cluster: ClusterConfig) -> Iterator[ClusterFault]:
    for field in ("node", "address"):
        seen: set[str] = set()
        for at, member in enumerate(cluster.members):
            said = getattr(member, field)
            if said and said in seen:
                path = ("members", str(at), field)
                yield ClusterFault(path, f"{said} stands for another member already; keep one")
            seen.add(said)


def _bad_links(cluster: ClusterConfig, at: int, member: ClusterMember) -> Iterator[ClusterFault]:
    here = ("members", str(at))
    if member.address and not _is_ip(member.address):
        yield ClusterFault(
            (*here, "address"),
            f"{member.address} is no IP address: write one such as 10.0.0.1, without a port",
        )
    leads: dict[str, str] = {}
    for peer, device in member.rdma_to.items():
        path = (*here, "rdma_to", peer)
        if peer == member.node:
            yield ClusterFault(path, f"{peer} needs no device towards itself; take it out")
        elif peer not in cluster.nodes:
            yield ClusterFault(path, f"{peer} is no member: take it out, or add it to members")
        elif device in leads:
            yield ClusterFault(
                path,
                f"{device} leads to {leads[device]} already, and a cable has two ends: name the "
                f"device of the port that {peer} is connected to",
            )
        leads[device] = peer


def _one_way(cluster: ClusterConfig) -> Iterator[ClusterFault]:
    by_node = {member.node: (at, member) for at, member in enumerate(cluster.members)}
    for member in cluster.members:
        for peer in member.rdma_to:
            at, other = by_node.get(peer, (0, None))
            if other is not None and member.node not in other.rdma_to:
                yield ClusterFault(
                    ("members", str(at)),
                    f"{member.node} has a device towards {peer}, and {peer} has none back: add "
                    f"`{member.node}: rdma_…` to its `rdma_to`, as `ibv_devices` lists it there",
                )


def _gaps(cluster: ClusterConfig) -> Iterator[ClusterFault]:
    for one, other in combinations(cluster.members, 2):
        if other.node not in one.rdma_to and one.node not in other.rdma_to:
            yield ClusterFault(
                ("backend",),
                f"jaccl needs a link between each two members, and {one.node} and {other.node} "
                "have none: connect them by Thunderbolt and add `rdma_to` to both, or write "
                "`backend: ring`",
            )


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
