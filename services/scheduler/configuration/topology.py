"""Clusters out of a ``topology.yaml``, the file in which OdyssAI declares its own."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proto.cluster import ClusterConfig, ClusterFault, ClusterMember
from proto.ids import slug
from services.scheduler.configuration.document import Document, NotConfig, complaint, read

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_LOGIN = re.compile(r"[\w.-]+@[\w.:-]+")


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A word that is not understood could be the one that matters."""


class Node(_Strict, frozen=True, kw_only=True):
    rank: Annotated[int, Meta(ge=0)]
    id: Annotated[str, Meta(min_length=1)]
    label: str = ""
    ssh: str = ""
    """``user@host``."""
    models_dir: str = ""
    port: int = 22
    rdma_to: dict[str, str] = {}


class Pool(_Strict, frozen=True, kw_only=True):
    size: Annotated[int, Meta(ge=1, le=16)]
    nodes: list[Node]


class Cluster(_Strict, frozen=True, kw_only=True):
    label: str = ""
    backend: Literal["ring", "jaccl", "http-proxy"] = "ring"
    upstream: str = ""
    models_dir: str = ""
    pools: list[Pool] = []


class Topology(_Strict, frozen=True, kw_only=True):
    clusters: dict[str, Cluster]


@dataclass(frozen=True)
class Imported:
    """What becomes of a topology here."""

    clusters: dict[str, ClusterConfig]
    remarks: tuple[str, ...]
    """For people: what has no place here, and where that is done."""


def imported(text: str, environment: Mapping[str, str]) -> Imported:
    """Raises NotConfig with the line of what is wrong."""
    document = read(_filled(text, environment))
    try:
        topology = msgspec.convert(document.plain or {}, Topology)
    except msgspec.ValidationError as error:
        raise _located(document, error) from error
    clusters: dict[str, ClusterConfig] = {}
    remarks: list[str] = []
    for name, cluster in topology.clusters.items():
        at, pool = _largest(cluster)
        _check(document, name, cluster)
        if cluster.backend == "http-proxy":
            remarks.append(
                f"{name} is a server of its own at {cluster.upstream}: `odyssai enroll "
                f"{cluster.upstream} --name {slug(name)}` has its models served here."
            )
        elif len(pool.nodes) < 2:
            remarks.append(f"{name} is one node, which needs no cluster here.")
        else:
            clusters[name] = _cluster(document, ("clusters", name, "pools", str(at)), cluster, pool)
    return Imported(clusters, tuple(remarks))


def _filled(text: str, environment: Mapping[str, str]) -> str:
    """``${NAME}`` and ``${NAME:-default}``, line by line."""
    filled = []
    for number, line in enumerate(text.splitlines(), 1):

        def value(found: re.Match[str], number: int = number) -> str:
            told = environment.get(found[1]) or found[2]
            if told is None:
                raise NotConfig(
                    number,
                    f"the environment has no {found[1]}: set it, or write "
                    f"${{{found[1]}:-its value}}",
                )
            return told

        filled.append(_VARIABLE.sub(value, line))
    return "\n".join(filled)


def _located(document: Document, error: msgspec.ValidationError) -> NotConfig:
    """In which entry of a mapping something is wrong msgspec does not say."""
    clusters = document.plain.get("clusters") if isinstance(document.plain, dict) else None
    for name, cluster in clusters.items() if isinstance(clusters, dict) else ():
        try:
            msgspec.convert(cluster, Cluster)
        except msgspec.ValidationError as own:
            path, what = complaint(own)
            return document.wrong(["clusters", str(name), *path], what)
    path, what = complaint(error)
    return document.wrong(path, what)


def _largest(cluster: Cluster) -> tuple[int, Pool]:
    """It names all nodes; smaller pools are parts of it."""
    none = (0, Pool(size=1, nodes=[]))
    return max(enumerate(cluster.pools), key=lambda entry: len(entry[1].nodes), default=none)


def _check(document: Document, name: str, cluster: Cluster) -> None:
    """What says nothing of links. Raises NotConfig."""
    here = ("clusters", name)
    if cluster.backend == "http-proxy" and not cluster.upstream:
        raise document.wrong(here, "a proxy needs an `upstream`, such as http://host:8003")
    if cluster.backend != "http-proxy" and not cluster.pools:
        raise document.wrong(here, "a cluster needs `pools` with the nodes that it is made of")
    for at, pool in enumerate(cluster.pools):
        for path, problem in _pool_faults(pool):
            raise document.wrong((*here, "pools", str(at), *path), problem)


def _pool_faults(pool: Pool) -> Iterator[tuple[tuple[str, ...], str]]:
    if len(pool.nodes) != pool.size:
        yield (
            ("size",),
            f"the pool has {len(pool.nodes)} nodes and says {pool.size}: make them the same",
        )
    ranks = Counter(node.rank for node in pool.nodes)
    for at, node in enumerate(pool.nodes):
        here = ("nodes", str(at))
        if ranks[node.rank] > 1:
            yield (
                (*here, "rank"),
                f"rank {node.rank} is given {ranks[node.rank]} times: number the nodes from 0 to "
                f"{len(pool.nodes) - 1}, each once",
            )
        if node.rank >= len(pool.nodes):
            last = len(pool.nodes) - 1
            yield (*here, "rank"), f"there is no rank {node.rank} of {len(ranks)}: use 0 to {last}"
        if node.ssh and not _LOGIN.fullmatch(node.ssh):
            yield (*here, "ssh"), f"{node.ssh!r} is no login: write user@host"


def _cluster(
    document: Document, path: tuple[str, ...], cluster: Cluster, pool: Pool
) -> ClusterConfig:
    """Raises NotConfig."""
    places = sorted(range(len(pool.nodes)), key=lambda at: pool.nodes[at].rank)
    names = {node.id: slug(node.id) for node in pool.nodes}
    members = tuple(_member(pool.nodes[at], names) for at in places)
    backend: Literal["ring", "jaccl"] = "jaccl" if cluster.backend == "jaccl" else "ring"
    try:
        return ClusterConfig(members=members, backend=backend)
    except ClusterFault as fault:
        raise document.wrong((*path, *_there(fault.path, places)), str(fault)) from fault


def _member(node: Node, names: Mapping[str, str]) -> ClusterMember:
    links = {names.get(peer, peer): device for peer, device in node.rdma_to.items()}
    return ClusterMember(node=names[node.id], rdma_to=links)


def _there(path: tuple[str, ...], places: list[int]) -> tuple[str, ...]:
    """Where in the topology that is which is wrong in the cluster made of it."""
    if path[0] != "members":
        return ()
    place = (str(places[int(path[1])]),) if len(path) > 1 else ()
    rest = tuple("id" if name == "node" else name for name in path[2:])
    return ("nodes", *place, *rest)
