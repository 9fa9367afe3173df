"""One model over several nodes: its group of ranks, how they split it and how they find together.

A group is one engine to everybody who asks: rank 0, its leader. Every rank stands in its own node's
plan, as an engine of that node, so that memory, processes and credentials are kept as any engine's.
A group is formed and ends as one: ``mx.distributed`` knows no change of members.
"""

from typing import Literal

from msgspec import Struct

from proto.ids import EngineId, NodeId, node_of
from proto.message import Message
from proto.presence import Unreadable

Backend = Literal["ring", "jaccl"]
"""``ring``: TCP; ``jaccl``: RDMA over Thunderbolt."""
Split = Literal["tensor", "pipeline"]
"""``tensor``: each rank has a part of every layer; ``pipeline``: each has some of the layers."""

RANK_SILENCE_S = 2.0
"""Unheard for this long a rank is taken for dead by the others of its group, which end."""
RANK_BUSY_S = 10.0
"""While it is loading it may be silent for so long: Python is busy with libraries and files."""
RANK_BEAT_S = 0.5
"""Seconds between two heartbeats of a rank."""


class Member(Struct, frozen=True, kw_only=True):
    """One rank, as it stands in the plan of its node."""

    engine: EngineId
    address: str = ""
    """Of its node, on the link to the others; empty: the one by which the node reaches the bus."""
    devices: tuple[str, ...] = ()
    """jaccl: the RDMA device towards each rank, by rank; empty towards itself."""
    layers: int = 0
    """pipeline: how many it computes. The last rank has the first layers, as mlx-lm splits."""

    @property
    def node(self) -> NodeId:
        return node_of(self.engine)


class Group(Struct, frozen=True, kw_only=True):
    """The ranks of one engine. Each member's placement carries the same."""

    backend: Backend = "ring"
    split: Split
    members: tuple[Member, ...]
    """By rank; at least two."""
    cluster: str = ""
    """The declared one that it was formed of, if any."""

    @property
    def leader(self) -> EngineId:
        """What the mesh asks: the engine of rank 0."""
        return self.members[0].engine

    def rank_of(self, engine: EngineId) -> int:
        """Raises StopIteration for one that is no member."""
        return next(rank for rank, member in enumerate(self.members) if member.engine == engine)


RankPhase = Literal["gathering", "connecting", "loading", "verifying", "ready"]
"""``gathering``: until all ranks are heard; ``connecting``: until each can reach all others;
``verifying``: that all have the same weights, and say the same."""


class Formation(Struct, frozen=True, kw_only=True):
    """One life of a group, as its leader proposes it: which processes take part, and where they
    meet. A process whose boot is not in it takes no part; when one of them ends, all do.
    """

    epoch: str
    """Another one each time."""
    boots: tuple[str, ...]
    """Of the processes, by rank."""
    addresses: tuple[str, ...]
    """Where each rank listens, ``host:port``, by rank. jaccl: the first is the coordinator's."""
    backend: Backend = "ring"
    """The group's, or ``ring`` where that has failed too often."""

    def beside(self, rank: int) -> list[int]:
        """The ranks on its machine, itself among them: those that listen at its address."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return [other for other, host in enumerate(hosts) if host == hosts[rank]]


class RankBeat(Message, frozen=True, kw_only=True):
    """One rank's full state. Said by its process every half second and on a change of phase."""

    engine: EngineId
    boot: str
    pid: int
    leader: EngineId
    """Of its group."""
    rank: int
    size: int
    """Of the group."""
    likeness: str
    """Of the group as its placement has it: ranks of unlike groups do not meet."""
    phase: RankPhase
    detail: str = ""
    """In words: what it waits for."""
    address: str = ""
    """Where it will listen for other ranks, ``host:port``."""
    formation: Formation | None = None
    """The leader's proposal; of others, the one they take part in."""
    checksum: str = ""
    """Of configuration and weights, as far as ranks must agree; empty until it is known."""
    proof: tuple[int, ...] = ()
    """Tokens that it generated to verify that all ranks say the same; empty until then."""
    awake: int = 0
    """Of the leader: how often it has woken the others, who rest while there is nothing to do."""
    steps: int = 0
    """Parts of plans that it has carried out in this life."""
    busy_s: float = 0.0
    """How long it has been at the one it carries out now; 0: it waits for the leader's word."""
    memory_bytes: int = 0
    asyncio_tasks: int = 0
    unreadable: Unreadable = Unreadable()
