"""A choice as the group that ranks are told of."""

from collections.abc import Mapping

from proto.choice import Choice
from proto.cluster import ClusterMember
from proto.config import Config
from proto.group import Group, Member, Split
from proto.ids import EngineId, NodeId


def formed(choice: Choice, engines: Mapping[NodeId, EngineId], config: Config) -> Group:
    """``engines``: of each node, what its rank is called."""
    nodes = [share.node for share in choice.shares]
    cluster = (config.clusters or {}).get(choice.cluster)
    links = {member.id: member for member in cluster.members} if cluster else {}
    split: Split = "tensor" if choice.way == "tensor" else "pipeline"
    return Group(
        backend=choice.backend or "ring",
        split=split,
        members=tuple(
            Member(
                engine=engines[share.node],
                address=share.address,
                devices=_devices(links.get(share.node), nodes),
                layers=share.layers,
            )
            for share in choice.shares
        ),
        cluster=choice.cluster,
    )


def _devices(link: ClusterMember | None, nodes: list[NodeId]) -> tuple[str, ...]:
    """Towards each rank; none at all where no cable was declared."""
    if link is None or not link.rdma_to:
        return ()
    return tuple(link.rdma_to.get(node, "") for node in nodes)
