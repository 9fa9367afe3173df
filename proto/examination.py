"""What a node finds out about itself when somebody asks, and about its ways to others."""

from typing import Literal

from msgspec import Struct

from proto.ids import NodeId
from proto.message import Message

RdmaState = Literal["active", "down"]


class RdmaPort(Struct, frozen=True, kw_only=True):
    """A device that could carry a group's collectives."""

    device: str
    """Such as ``rdma_en2``."""
    state: RdmaState


class ThunderboltPort(Struct, frozen=True, kw_only=True):
    """Where a cable to another Mac may be."""

    port: str
    """Its number, such as ``1``."""
    device: str = ""
    """The RDMA device that it is, or would be once RDMA is enabled; empty: not known."""
    domain: str
    """The UUID by which the other end of its cable knows it."""
    peer: str = ""
    """The UUID of the other Mac's port; empty: no Mac is there."""
    attached: str = ""
    """What is there, by name."""
    speed: str = ""
    """Such as ``Up to 80 Gb/s``."""


class Examine(Message, frozen=True, kw_only=True):
    """Look at yourself now. Answered by ``Examined``."""

    peers: tuple[str, ...] = ()
    """``host:port`` of other nodes, which are to be tried."""


class Reached(Struct, frozen=True, kw_only=True):
    address: str
    connect_s: float | None = None
    """Until a connection stood; None: none came about."""
    trouble: str = ""


class Examined(Message, frozen=True, kw_only=True, tag="examined"):
    """Of one node, as of now. A size of 0 is not known."""

    node: NodeId
    now_s: float
    """Unix time by its own clock, when it had looked."""
    took_s: float = 0.0
    """How long it looked."""
    system: str
    """Such as ``macOS 26.2`` or ``Linux 6.8``."""
    versions: dict[str, str]
    """By package: what computes, and what must agree on it."""
    memory_bytes: int
    wirable_bytes: int
    wired_limit_bytes: int = 0
    """What an operator let the GPU have; 0: what the system gives it by itself."""
    disk_bytes: int = 0
    free_disk_bytes: int = 0
    """Where models are kept."""
    address: str = ""
    """``host:port`` where other nodes come for files; empty: nowhere."""
    rdma: tuple[RdmaPort, ...] = ()
    thunderbolt: tuple[ThunderboltPort, ...] = ()
    reached: tuple[Reached, ...] = ()
    """The peers, as they were asked for."""
