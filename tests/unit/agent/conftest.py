"""A runner agent as a process of its own, on a bus server of the test's own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from proto.ids import NodeId
from tests.mesh.house import ROOT, environment, living

NODE = NodeId("n1")


class Agent:
    """A runner agent and the engines below it."""

    def __init__(self, url: str, home: Path, models: str, told: dict[str, str]) -> None:
        told = {
            "ODYSSAI_NATS": url,
            "ODYSSAI_HOME": str(home),
            "ODYSSAI_NODE": NODE,
            "ODYSSAI_MODELS": models,
        } | told
        self._lifeline, self._held = os.pipe()
        self._known: set[psutil.Process] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.runner"],
            cwd=ROOT,
            env=environment(told | {"ODYSSAI_LIFELINE_FD": str(self._lifeline)}),
            pass_fds=(self._lifeline,),
            stderr=subprocess.DEVNULL,
        )

    def engines(self) -> list[psutil.Process]:
        """Also those that have lost their agent."""
        if self.process.poll() is None:
            self._known.update(psutil.Process(self.process.pid).children())
        return [process for process in living(self._known) if _is_engine(process)]

    def corpses(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if child not in living(children)]

    def end(self) -> None:
        os.close(self._held)  # Whoever holds the lifeline ends.
        os.close(self._lifeline)
        self.process.wait(10)


def _is_engine(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-1:] == ["services.runner.engine"]
    except psutil.Error:
        return False


StartAgent = Callable[..., Agent]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Every agent of a test is another life on the same home."""
    agents: list[Agent] = []

    def start(url: str, models: str | Path = "none", **told: str) -> Agent:
        agents.append(Agent(url, tmp_path / "home", str(models), told))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()
