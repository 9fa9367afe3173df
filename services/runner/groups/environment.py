"""What mlx reads when a rank joins its group: variables and a file, as mlx's own launcher has them.

Nothing is written here: who starts the rank does that.
"""

from pathlib import Path

from msgspec import Struct, json

from proto.errors import Code, MeshError
from proto.group import Group

RANK = "MLX_RANK"
HOSTFILE = "MLX_HOSTFILE"
"""ring: path of a JSON list of lists of ``ip:port``: where each rank listens, by rank."""
COORDINATOR = "MLX_JACCL_COORDINATOR"
"""jaccl: ``ip:port`` where rank 0 listens while the ranks tell each other their queue pairs."""
DEVICES = "MLX_IBV_DEVICES"
"""jaccl: path of a JSON matrix: by rank, its device towards each rank, null towards itself."""
FAST_SYNCH = "MLX_METAL_FAST_SYNCH"
"""The GPU waits for what RDMA has written without a turn through the CPU."""


class RankEnvironment(Struct, frozen=True, kw_only=True):
    """Everything a process needs to know before ``mx.distributed.init``."""

    variables: dict[str, str]
    files: dict[Path, str]
    """What must be written, and where, before the process starts."""


def rank_environment(
    group: Group, rank: int, addresses: tuple[str, ...], folder: Path
) -> RankEnvironment:
    """Of one rank. ``addresses`` are the ranks' ``ip:port``, by rank: mlx takes no names.

    Raises MeshError for a jaccl group without a device between each two ranks.
    """
    if group.backend == "ring":
        path, content = folder / "hostfile.json", json.encode([[address] for address in addresses])
        variables = {HOSTFILE: str(path)}
    else:
        path, content = folder / "devices.json", json.encode(_matrix(group))
        variables = {COORDINATOR: addresses[0], DEVICES: str(path), FAST_SYNCH: "1"}
    return RankEnvironment(variables={RANK: str(rank), **variables}, files={path: content.decode()})


def _matrix(group: Group) -> list[list[str | None]]:
    ranks = range(len(group.members))
    return [[_device(group, rank, other) for other in ranks] for rank in ranks]


def _device(group: Group, rank: int, other: int) -> str | None:
    if rank == other:
        return None
    member = group.members[rank]
    if other < len(member.devices) and member.devices[other]:
        return member.devices[other]
    raise MeshError(
        Code.INVALID_REQUEST,
        f"{member.node} has no RDMA device towards {group.members[other].node}, and jaccl needs "
        "one between each two ranks: connect them with a Thunderbolt cable, or form the group "
        "with the ring backend",
    )
