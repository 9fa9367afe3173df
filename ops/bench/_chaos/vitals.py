"""What every process takes while it lives, and whether that grows."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import psutil

from ops.bench._chaos.roles import BUS
from ops.bench._chaos.world import World

EVERY_S = 2.0
WARM_UP = 0.25
"""Of a process's life, in which caches fill and code is loaded: it does not count."""
SHORTEST_S = 900.0
"""Of a life that says something about growth."""
FLOOR_S = 30.0
"""The least of so long a time counts: requests come and go, and what they leave behind stays."""
MIB = 1 << 20


@dataclass(frozen=True)
class Limit:
    """Growth an hour that is still called flat."""

    name: str
    unit: str
    most: float


LIMITS = (
    Limit("rss_mib", "MiB/h", 64.0),
    Limit("fds", "/h", 12.0),
    Limit("threads", "/h", 6.0),
    Limit("tasks", "/h", 24.0),
)


@dataclass
class Life:
    """One process, from when it was seen first to its end."""

    name: str
    pid: int
    at_s: list[float] = field(default_factory=list)
    """Since the load began."""
    rss_mib: list[float] = field(default_factory=list)
    fds: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    """Of asyncio, by its own heartbeat."""

    @property
    def span_s(self) -> float:
        return self.at_s[-1] - self.at_s[0]

    def growth(self, limit: Limit) -> float:
        """An hour, after the warm-up."""
        start = self.at_s[0] + WARM_UP * self.span_s
        values: list[float] = getattr(self, limit.name)
        points = [(at, v) for at, v in zip(self.at_s, values, strict=True) if at >= start]
        return 3600 * slope(floors(points))

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "growth": {limit.name: self.growth(limit) for limit in LIMITS}}


def floors(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The least value of each FLOOR_S."""
    least: dict[int, tuple[float, float]] = {}
    for at, value in points:
        window = int(at // FLOOR_S)
        if window not in least or value < least[window][1]:
            least[window] = at, value
    return [least[window] for window in sorted(least)]


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Of the straight line that fits best; 0 for fewer than two points."""
    points = list(points)
    if len(points) < 2:
        return 0.0
    middle, mean = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - mean) for x, y in points) / spread if spread else 0.0


class Vitals:
    """Samples of all processes, for ever."""

    def __init__(self, world: World) -> None:
        self.lives: list[Life] = []
        self._world = world
        self._began = time.monotonic()
        self._living: dict[int, tuple[psutil.Process, Life]] = {}

    async def run(self) -> None:
        while True:
            now_s = time.monotonic() - self._began
            for name, pid in self._world.processes().items():
                with contextlib.suppress(psutil.Error):
                    self._sample(name, pid, now_s)
            await asyncio.sleep(EVERY_S)

    def _sample(self, name: str, pid: int, now_s: float) -> None:
        if pid not in self._living:
            life = Life(name, pid)
            self._living[pid] = psutil.Process(pid), life
            self.lives.append(life)
        process, life = self._living[pid]
        with process.oneshot():
            sample = process.memory_info().rss / MIB, process.num_fds(), process.num_threads()
        life.at_s.append(round(now_s, 1))
        life.rss_mib.append(round(sample[0], 1))
        life.fds.append(sample[1])
        life.threads.append(sample[2])
        life.tasks.append(0 if name.startswith(BUS) else self._world.presence.tasks(pid))

    def telling(self) -> list[Life]:
        """Lives that were long enough."""
        return [life for life in self.lives if life.at_s and life.span_s >= SHORTEST_S]
