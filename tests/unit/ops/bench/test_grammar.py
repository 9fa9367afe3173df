"""The benchmark runs; its figures are not judged here."""

import json
import subprocess
import sys


def test_a_quick_run_reports_every_batch() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.command", "bench", "grammar", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["ratios"]) == {"tiny × 1", "tiny × 4", "tiny × 4: mixed"}
