"""An agent looks at its machine when it is asked to, and tries its ways to other nodes."""

import asyncio
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from proto.examination import Examine, Examined, Reached
from proto.ids import NodeId
from services.host import VERSION
from services.runner.groups import rdma
from services.runner.groups.thunderbolt import thunderbolt_ports
from services.runner.memory import printed
from services.runner.store.store import ModelStore

COMPUTING = ("mlx", "mlx-lm", "transformers")
"""Packages of which ranks of a group must have the same."""
CONNECT_S = 2.0


class Examination:
    def __init__(self, node: NodeId, home: Path, wirable_bytes: int, store: ModelStore) -> None:
        self._node = node
        self._home = home
        self._wirable_bytes = wirable_bytes
        self._store = store

    async def answer(self, asked: Examine) -> Examined:
        begun = time.monotonic()
        disk = shutil.disk_usage(self._home)
        ports, thunderbolt, limit, reached = await asyncio.gather(
            rdma.ports(printed),
            thunderbolt_ports(printed),
            _wired_limit_bytes(),
            asyncio.gather(*map(_reach, asked.peers)),
        )
        return Examined(
            node=self._node,
            now_s=time.time(),
            took_s=time.monotonic() - begun,
            system=_system(),
            versions={"odyssai-mesh": VERSION} | _versions(),
            memory_bytes=psutil.virtual_memory().total,
            wirable_bytes=self._wirable_bytes,
            wired_limit_bytes=limit,
            disk_bytes=disk.total,
            free_disk_bytes=disk.free,
            address=urlsplit(self._store.url).netloc,
            rdma=ports,
            thunderbolt=thunderbolt,
            reached=tuple(reached),
        )


def _versions() -> dict[str, str]:
    found = {}
    for package in COMPUTING:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.release()}"


async def _wired_limit_bytes() -> int:
    """Of macOS, which counts in megabytes; 0 where nobody set one."""
    if platform.system() != "Darwin":
        return 0
    said = (await printed("sysctl", "-n", "iogpu.wired_limit_mb")).strip()
    return int(said) << 20 if said.isdigit() else 0


async def _reach(address: str) -> Reached:
    host, _, port = address.rpartition(":")
    begun = time.monotonic()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return Reached(address=address, trouble=f"no answer in {CONNECT_S:g} s")
    except (OSError, ValueError) as error:
        return Reached(address=address, trouble=getattr(error, "strerror", None) or str(error))
    writer.close()
    return Reached(address=address, connect_s=round(time.monotonic() - begun, 6))
