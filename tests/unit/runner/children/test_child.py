"""Children of an agent end with it, however it ends."""

import os
import subprocess
import sys

import psutil

from tests.hub import Faults, Hub
from tests.tiny import make_tiny

AGENT = """
import asyncio, sys
import msgspec
from services.runner.children.child import run_child
from services.runner.children.orders import FetchOrder

order = msgspec.json.decode(sys.argv[1], type=FetchOrder)
hear = lambda word: word.done_bytes and print(word.done_bytes, flush=True)
asyncio.run(run_child("services.runner.store.fetch", order, hear))
"""


def test_a_child_ends_with_an_agent_that_is_killed(tmp_path):
    with Hub.open() as hub:
        hub.add("org/Slow", make_tiny(tmp_path / "published"))
        hub.faults = Faults(bytes_per_s=50_000)
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, '{"model":"org/Slow"}'],
            env=os.environ | told,
            stdout=subprocess.PIPE,
        )
        with agent:
            assert agent.stdout is not None
            assert agent.stdout.readline(), "it is fetching"
            children = psutil.Process(agent.pid).children()
            agent.kill()

        gone, alive = psutil.wait_procs(children, timeout=10)

    assert (len(gone), alive) == (1, [])
