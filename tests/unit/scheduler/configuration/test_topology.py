"""An OdyssAI's topology as clusters of ours, or the line that is wrong with it."""

import pytest

from proto.cluster import ClusterConfig, ClusterMember
from services.scheduler.configuration.document import NotConfig
from services.scheduler.configuration.topology import imported

TEXT = """clusters:
  garage:
    label: The garage
    backend: {backend}
    models_dir: ${{MODELS:-/models}}
    pools:
      - size: 1
        nodes: [{{rank: 0, id: Host-A, ssh: me@host-a}}]
      - size: {size}
        nodes:
          - {{rank: {one}, id: host-b, label: B, ssh: me@host-b, port: 22, rdma_to: {{{b}}}}}
          - {{rank: 0, id: Host-A, ssh: {ssh}, rdma_to: {{host-b: rdma_en4}}}}
"""
GOOD = {"backend": "jaccl", "size": "2", "one": "1", "b": "Host-A: rdma_en5", "ssh": "me@host-a"}


def test_the_largest_pool_is_the_cluster_in_the_order_of_its_ranks() -> None:
    found = imported(TEXT.format(**GOOD), {})

    assert found.clusters == {
        "garage": ClusterConfig(
            members=(
                ClusterMember(node="host-a", rdma_to={"host-b": "rdma_en4"}),
                ClusterMember(node="host-b", rdma_to={"host-a": "rdma_en5"}),
            ),
            backend="jaccl",
        )
    }
    assert found.remarks == ()


def test_what_is_no_cluster_here_is_remarked_upon() -> None:
    text = (
        "clusters:\n"
        "  box: {backend: http-proxy, upstream: http://h:8003}\n"
        "  one: {backend: ring, pools: [{size: 1, nodes: [{rank: 0, id: a}]}]}\n"
    )
    found = imported(text, {})

    assert found.clusters == {}
    assert "`odyssai enroll http://h:8003 --name box`" in found.remarks[0]
    assert "one is one node" in found.remarks[1]


@pytest.mark.parametrize(
    ("told", "line", "words"),
    [
        ({"b": ""}, 11, "host-a has a device towards host-b, and host-b has none back"),
        ({"one": "0"}, 11, "rank 0 is given 2 times: number the nodes from 0 to 1, each once"),
        ({"one": "2"}, 11, "there is no rank 2 of 2: use 0 to 1"),
        ({"size": "3"}, 9, "the pool has 2 nodes and says 3"),
        ({"ssh": "host-a"}, 12, "'host-a' is no login: write user@host"),
        ({"ssh": "me@host-a, gpu: yes"}, 12, "there is no such setting"),
        ({"ssh": "${LOGIN}"}, 12, "the environment has no LOGIN: set it, or write ${LOGIN:-its"),
        ({"backend": "http-proxy"}, 2, "a proxy needs an `upstream`"),
        ({"backend": "carrier-pigeon"}, 4, "carrier-pigeon"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(told: dict[str, str], line: int, words: str) -> None:
    with pytest.raises(NotConfig) as wrong:
        imported(TEXT.format(**(GOOD | told)), {})

    assert words in str(wrong.value)
    assert wrong.value.line == line


def test_jaccl_needs_links() -> None:
    text = TEXT.format(**(GOOD | {"b": ""})).replace("host-b: rdma_en4", "")
    with pytest.raises(NotConfig, match="jaccl needs a link between each two members"):
        imported(text, {})
