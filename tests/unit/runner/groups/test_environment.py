import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proto.errors import MeshError
from proto.group import Backend, Group, Member
from proto.ids import EngineId
from services.runner.groups.environment import rank_environment

MEET = """
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="ring")
total = mx.distributed.all_sum(mx.array(group.rank() + 1.0), group=group, stream=mx.cpu)
print(group.rank(), group.size(), total.item())
"""


def group_of(backend: Backend, *devices: tuple[str, ...]) -> Group:
    members = (
        Member(engine=EngineId(f"studio-{rank}.e"), devices=row) for rank, row in enumerate(devices)
    )
    return Group(backend=backend, split="tensor", members=tuple(members))


def free_addresses(count: int) -> tuple[str, ...]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in listening)
    for each in listening:
        each.close()
    return addresses


def test_ranks_told_so_find_each_other_by_the_ring_of_mlx(tmp_path: Path) -> None:
    group, addresses = group_of("ring", (), ()), free_addresses(2)
    ranks = []
    for rank in range(2):
        told = rank_environment(group, rank, addresses, tmp_path)
        for path, content in told.files.items():
            path.write_text(content)
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-c", MEET],
                env={**os.environ, **told.variables},
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    said = [rank.communicate(timeout=30)[0].split() for rank in ranks]

    assert said == [["0", "2", "3.0"], ["1", "2", "3.0"]]


def test_a_jaccl_rank_has_the_coordinator_and_the_whole_matrix(tmp_path: Path) -> None:
    group = group_of("jaccl", ("", "rdma_en3"), ("rdma_en5", ""))

    told = rank_environment(group, 1, ("10.0.0.1:50000", "10.0.0.2:50001"), tmp_path)

    [(path, content)] = told.files.items()
    assert told.variables == {
        "MLX_RANK": "1",
        "MLX_JACCL_COORDINATOR": "10.0.0.1:50000",
        "MLX_IBV_DEVICES": str(path),
        "MLX_METAL_FAST_SYNCH": "1",
    }
    assert json.loads(content) == [[None, "rdma_en3"], ["rdma_en5", None]]


@pytest.mark.parametrize("row", [(), ("rdma_en3",), ("rdma_en3", "")])
def test_a_missing_link_is_told_before_any_rank_starts(
    row: tuple[str, ...], tmp_path: Path
) -> None:
    group = group_of("jaccl", ("", "rdma_en3", "rdma_en4"), row, ("rdma_en2", "rdma_en3", ""))

    with pytest.raises(MeshError, match=r"studio-1 has no RDMA device towards studio-[02].*ring"):
        rank_environment(group, 1, ("10.0.0.1:50000",) * 3, tmp_path)
