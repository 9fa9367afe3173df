"""The benchmark runs against a real mesh; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path


def test_relay_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.command", "bench", "relay", "--quick", "--json"],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        check=False,
        timeout=50,
    )
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["met"] else 1)
    assert said["figures"]["32 chunks, 16 at once: rate"]["value"] > 0
