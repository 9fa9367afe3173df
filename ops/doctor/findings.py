"""What is right and wrong, judged by what nodes have told. No bus and no clock."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ops.doctor.cables import cables, declared_cables
from ops.doctor.finding import Finding, bad, doubtful, good
from ops.doctor.links import links
from ops.words import size
from proto.cluster import ClusterConfig
from proto.examination import Examined
from proto.ids import NodeId
from proto.overview import Overview

SLOW_BUS_S = 0.05
DEAD_BUS_S = 0.5
SKEW_S = 2.0
LEAST_DISK = 1 << 30
LITTLE_DISK = 20 << 30
LARGE_MEMORY = 32 << 30
"""From so much on, what macOS keeps from the GPU is a model's worth."""
KEPT_SHARE = 0.04
"""Of the memory, what has to be left beside the wired limit; less makes macOS kill programs."""


@dataclass(frozen=True)
class Asked:
    """One node's answer, and how it came."""

    told: Examined
    round_trip_s: float
    skew_s: float
    """By how much its clock is ahead of the asker's, by the middle of the question's way."""


@dataclass(frozen=True)
class Seen:
    """All that was found out."""

    overview: Overview
    nodes: Mapping[NodeId, Asked]
    """Those that answered."""
    clusters: Mapping[str, ClusterConfig] = field(default_factory=dict)


def findings(seen: Seen) -> Iterator[Finding]:
    yield from _mesh(seen)
    for node in seen.overview.nodes:
        asked = seen.nodes.get(node.node)
        if node.state == "silent":
            yield bad(
                node.node, "presence", "it is not heard: see that the machine is on and awake, and "
                "that its agent runs; `odyssai remove` forgets it",
            )  # fmt: skip
        elif asked is None:
            yield bad(
                node.node, "presence", "it is heard and does not answer: restart its agent, "
                "`odyssai restart`, or upgrade it if it is older than this odyssai",
            )  # fmt: skip
        else:
            yield from _node(asked)
    told = {node: asked.told for node, asked in seen.nodes.items()}
    yield from _drift(told)
    yield from _ways(told)
    yield from links(seen.overview)
    yield from cables(told)
    for name, cluster in seen.clusters.items():
        yield from declared_cables(name, cluster, told)


def _mesh(seen: Seen) -> Iterator[Finding]:
    if not seen.overview.nodes:
        yield bad("mesh", "nodes", "no node is there: `odyssai runner` or `odyssai join` make one")
    if seen.overview.leader:
        yield good("mesh", "scheduler", f"{seen.overview.leader} leads")
    else:
        yield bad("mesh", "scheduler", "none leads, so that nothing is loaded or moved: start one")


def _node(asked: Asked) -> Iterator[Finding]:
    told, node = asked.told, asked.told.node
    yield _bus(node, asked.round_trip_s)
    yield _clock(node, asked.skew_s, asked.round_trip_s / 2)
    yield _disk(told)
    yield from _wired(told)


def _bus(node: NodeId, round_trip_s: float) -> Finding:
    said = f"{1e3 * round_trip_s:.1f} ms there and back"
    if round_trip_s > DEAD_BUS_S:
        return bad(node, "bus", f"{said}: tokens will stall; use a cable, or a nearer bus server")
    if round_trip_s > SLOW_BUS_S:
        return doubtful(node, "bus", f"{said}, where a wired network takes less than 5: no Wi-Fi?")
    return good(node, "bus", said)


def _clock(node: NodeId, skew_s: float, error_s: float) -> Finding:
    if abs(skew_s) - error_s <= SKEW_S:
        return good(node, "clock", f"within {max(abs(skew_s), error_s):.2f} s of this machine's")
    ahead = "ahead of" if skew_s > 0 else "behind"
    return doubtful(
        node, "clock", f"{abs(skew_s):.1f} s {ahead} this machine's: logs do not fit together, and "
        "certificates may not be good there; let the system set its time",
    )  # fmt: skip


def _disk(told: Examined) -> Finding:
    said = f"{size(told.free_disk_bytes)} of {size(told.disk_bytes)} free"
    if told.free_disk_bytes < LEAST_DISK:
        return bad(told.node, "disk", f"{said}: nothing can be pulled; `odyssai rm` frees some")
    if told.free_disk_bytes < LITTLE_DISK:
        return doubtful(told.node, "disk", f"{said}: no room for a large model; `odyssai rm`")
    return good(told.node, "disk", said)


def _wired(told: Examined) -> Iterator[Finding]:
    """Only macOS has such a limit."""
    if not told.system.startswith("macOS"):
        return
    wanted = (told.memory_bytes - max(8 << 30, told.memory_bytes >> 4)) >> 20
    remedy = f"`sudo sysctl iogpu.wired_limit_mb={wanted}`, and again after each start"
    if told.wired_limit_bytes == 0 and told.memory_bytes >= LARGE_MEMORY:
        yield doubtful(
            told.node, "wired limit", f"models may have {size(told.wirable_bytes)} of "
            f"{size(told.memory_bytes)}, as macOS has it; more by {remedy}",
        )  # fmt: skip
    elif told.wired_limit_bytes > (1 - KEPT_SHARE) * told.memory_bytes:
        yield bad(
            told.node, "wired limit", f"{size(told.wired_limit_bytes)} of "
            f"{size(told.memory_bytes)} leave macOS too little, and it kills programs: {remedy}",
        )  # fmt: skip
    else:
        yield good(told.node, "wired limit", size(told.wired_limit_bytes or told.wirable_bytes))


def _drift(told: Mapping[NodeId, Examined]) -> Iterator[Finding]:
    """Ranks of a group compute together, and what differs in a digit differs in the text."""
    packages = sorted({package for each in told.values() for package in each.versions})
    for package in packages:
        by_node = {node: each.versions.get(package, "none") for node, each in told.items()}
        yield _same(package, by_node, "`odyssai upgrade` brings nodes to one version")
    systems = {node: each.system for node, each in told.items()}
    if systems:
        yield _same("system", systems, "update them to the same")


def _same(what: str, by_node: Mapping[NodeId, str], remedy: str) -> Finding:
    kinds = Counter(by_node.values())
    if len(kinds) == 1:
        return good("mesh", what, next(iter(kinds)))
    usual = kinds.most_common(1)[0][0]
    others = ", ".join(f"{node} {said}" for node, said in by_node.items() if said != usual)
    return doubtful(
        "mesh", what, f"{usual} on most nodes, but {others}: no model can be spread over both; "
        f"{remedy}",
    )  # fmt: skip


def _ways(told: Mapping[NodeId, Examined]) -> Iterator[Finding]:
    for node, each in told.items():
        if not each.address:
            yield doubtful(
                node, "files", "no other node can copy models from it: set ODYSSAI_FILES_HOST "
                "there to an address of that machine",
            )  # fmt: skip
        addresses = {other.address: name for name, other in told.items() if name != node}
        for reached in each.reached:
            pair = f"{node} → {addresses.get(reached.address, reached.address)}"
            if reached.connect_s is None:
                yield bad(
                    pair, "reach", f"{reached.address}: {reached.trouble}; let the firewall pass "
                    f"connections between nodes, and see that ODYSSAI_FILES_HOST is right there",
                )  # fmt: skip
            else:
                yield good(pair, "reach", f"{1e3 * reached.connect_s:.2f} ms to connect")


def exit_status(found: Sequence[Finding]) -> int:
    return int(any(each.level == "FAIL" for each in found))
