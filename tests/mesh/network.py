"""Machines with addresses of their own on one: the kernel's namespaces and cables, where we may
make some, and else addresses of the loopback interface.

One machine may be far from all others: its frames pass through this process, which is late with
them. That works without any module of the kernel for delays.
"""

import fcntl
import heapq
import os
import platform
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

TUNSETIFF = 0x400454CA
TAP, NO_HEADER = 0x0002, 0x1000
FRAME = 65536


@dataclass(frozen=True)
class Network:
    bus_host: str
    """Where a bus server listens that all machines are to reach."""
    addresses: dict[str, str]
    """By machine."""
    late_s: float
    """By how much what comes from or goes to the far machine is; 0: there is no far one."""
    namespaces: dict[str, str]

    def within(self, machine: str) -> list[str]:
        """What stands before a command that is to run there."""
        there = self.namespaces.get(machine)
        return ["ip", "netns", "exec", there] if there else []


@contextmanager
def network(machines: Sequence[str], far: str, late_s: float) -> Iterator[Network]:
    with ExitStack() as kept:
        try:
            made = kept.enter_context(_namespaces(machines, far, late_s))
        except (OSError, subprocess.CalledProcessError):
            made = _loopback(machines)
        yield made


def _loopback(machines: Sequence[str]) -> Network:
    """All of 127/8 is this machine, but on a Mac."""
    has_many = platform.system() == "Linux"
    return Network(
        bus_host="127.0.0.1",
        addresses={m: f"127.0.0.{2 + at if has_many else 1}" for at, m in enumerate(machines)},
        late_s=0.0,
        namespaces={},
    )


@contextmanager
def _namespaces(machines: Sequence[str], far: str, late_s: float) -> Iterator[Network]:
    """A switch in a namespace of its own, with a cable to each machine and to us.

    Raises OSError and CalledProcessError where that is not allowed.
    """
    mark = os.getpid() % 10_000
    net = f"10.{200 + mark % 50}.{mark // 50}"
    hub, names = f"lk{mark}hub", {machine: f"lk{mark}{machine}" for machine in machines}
    with ExitStack() as kept:
        for name in (hub, *names.values()):
            _ip("netns", "add", name)
            kept.callback(_ip, "netns", "del", name)
        _ip("-n", hub, "link", "add", "switch", "type", "bridge")
        _ip("-n", hub, "link", "set", "switch", "up")
        _cable(hub, f"lk{mark}up", f"{net}.1/24")
        for at, (machine, name) in enumerate(names.items()):
            address = f"{net}.{2 + at}/24"
            _ip("-n", name, "link", "set", "lo", "up")
            if machine == far:
                kept.enter_context(_far(hub, name, f"lk{mark}", address, late_s))
            else:
                _cable(hub, f"lk{mark}{machine}c", address, name)
        addresses = {machine: f"{net}.{2 + at}" for at, machine in enumerate(names)}
        yield Network(f"{net}.1", addresses, late_s, names)


def _cable(hub: str, name: str, address: str, where: str = "") -> None:
    """From the switch to a machine; without a name to where we are ourselves."""
    here = ("-n", where) if where else ()
    end = ("netns", hub)
    _ip(*here, "link", "add", name, "type", "veth", "peer", "name", f"{name}x", *end)
    _plug(hub, f"{name}x")
    _ip(*here, "addr", "add", address, "dev", name)
    _ip(*here, "link", "set", name, "up")


def _plug(hub: str, name: str) -> None:
    _ip("-n", hub, "link", "set", name, "master", "switch")
    _ip("-n", hub, "link", "set", name, "up")


@contextmanager
def _far(hub: str, where: str, mark: str, address: str, late_s: float) -> Iterator[None]:
    near, there = _tap(f"{mark}n"), _tap(f"{mark}f")
    try:
        _ip("link", "set", f"{mark}n", "netns", hub)
        _plug(hub, f"{mark}n")
        _ip("link", "set", f"{mark}f", "netns", where)
        _ip("-n", where, "addr", "add", address, "dev", f"{mark}f")
        _ip("-n", where, "link", "set", f"{mark}f", "up")
        is_over = threading.Event()
        carrying = threading.Thread(target=_carry, args=(near, there, late_s, is_over), daemon=True)
        carrying.start()
        yield
        is_over.set()
        carrying.join(5)
    finally:
        os.close(near)
        os.close(there)


def _tap(name: str) -> int:
    """An interface whose frames are ours to carry. Raises OSError."""
    opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(opened, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_HEADER))
    except OSError:
        os.close(opened)
        raise
    return opened


def _carry(one: int, other: int, late_s: float, is_over: threading.Event) -> None:
    """Each frame comes out at the other end, late."""
    on_its_way: list[tuple[float, int, int, bytes]] = []
    count = 0
    while not is_over.is_set():
        due_s = max(0.0, on_its_way[0][0] - time.monotonic()) if on_its_way else 0.1
        readable, _, _ = select.select([one, other], [], [], due_s)
        for source in readable:
            with suppress(BlockingIOError):
                while True:
                    frame = os.read(source, FRAME)
                    sink = other if source == one else one
                    heapq.heappush(on_its_way, (time.monotonic() + late_s, count, sink, frame))
                    count += 1
        while on_its_way and on_its_way[0][0] <= time.monotonic():
            _, _, sink, frame = heapq.heappop(on_its_way)
            with suppress(OSError):
                os.write(sink, frame)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=5)
