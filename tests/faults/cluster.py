"""Three bus servers on this machine, by the settings that operators get."""

import json
import os
import subprocess
from pathlib import Path

import httpx

from bus import embedded
from tests.mesh.house import ROOT, free_port, until

PASSWORD = "between-us"
START_S = 20.0


class Cluster:
    """Each may be killed and started again; all of them end with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(3)]
        self._routes = [free_port() for _ in range(3)]
        self._monitors = [free_port() for _ in range(3)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def servers(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", port) for port in self._ports]

    @property
    def url(self) -> str:
        return url_of(self._ports)

    def start(self, *which: int) -> "Cluster":
        for number in which or range(3):
            self._processes[number] = self._started(number)
        return self

    def _started(self, number: int) -> "subprocess.Popen[bytes]":
        routes = ", ".join(f'"nats://route:{PASSWORD}@127.0.0.1:{at}"' for at in self._routes)
        folder = self._folder / str(number)
        told = {
            "ODYSSAI_BUS_PASSWORD": PASSWORD,
            "ODYSSAI_BUS_ROUTES": f"[{routes}]",
            "ODYSSAI_BUS_STORE": json.dumps(str(folder / "jetstream")),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    embedded.find_server(), "-c", ROOT / "ops/nats/cluster.conf",
                    "--name", f"nats-{number}", "--addr", "127.0.0.1",
                    "--port", str(self._ports[number]),
                    "--http_port", str(self._monitors[number]),
                    "--cluster", f"nats://127.0.0.1:{self._routes[number]}",
                ],
                stdout=log, stderr=log, env={**os.environ, **told},
            )  # fmt: skip

    def ready(self) -> "Cluster":
        """Once one of them leads and state can be kept."""
        until(lambda: self.leader() is not None, START_S, f"a leader\n{self.logs()}")
        return self

    def leader(self) -> int | None:
        """Which one decides over state, by the word of any."""
        for number, process in self._processes.items():
            if process.poll() is None and (name := self._leader_by(number)):
                return int(name.removeprefix("nats-"))
        return None

    def _leader_by(self, number: int) -> str:
        try:
            told = httpx.get(
                f"http://127.0.0.1:{self._monitors[number]}/jsz", timeout=2, trust_env=False
            ).json()
        except (httpx.HTTPError, ValueError):
            return ""
        return str(told.get("meta_cluster", {}).get("leader", ""))

    def kill(self, number: int) -> None:
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def end(self) -> None:
        for number in list(self._processes):
            self.kill(number)

    def logs(self) -> str:
        return "\n".join(log.read_text()[-1500:] for log in sorted(self._folder.glob("*/log")))


def url_of(ports: list[int]) -> str:
    return ",".join(f"nats://mesh:{PASSWORD}@127.0.0.1:{port}" for port in ports)
