"""A whole mesh under load and random faults, by a seed: nothing lost, doubled or unexplained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.house import ROOT, environment

MINUTES = 2.0
"""Under load; starting, the undisturbed run and ending come on top."""
SEED = 8
BESIDES_S = 150
"""Far more than all of that takes on a busy machine."""


@pytest.mark.timeout(60 * MINUTES + 2 * BESIDES_S)
def test_no_token_is_lost_or_doubled_and_no_failure_is_unexplained(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    done = subprocess.run(
        [
            *(sys.executable, "-m", "ops.command", "bench", "chaos"),
            *("--minutes", str(MINUTES), "--seed", str(SEED), "--report", str(report)),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60 * MINUTES + BESIDES_S,
        check=False,
    )

    told = f"{done.stderr}\n{done.stdout}"
    assert done.returncode == 0, told
    story = json.loads(report.read_text())
    assert story["counts"]["whole"] > 100, told
    assert len(story["hits"]) > 5, told
