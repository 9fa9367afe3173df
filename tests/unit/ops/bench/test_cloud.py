"""The benchmark runs against a real mesh and a provider on loopback; its figures are not judged."""

import json
import subprocess
import sys
from pathlib import Path


def test_cloud_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.command", "bench", "cloud", "--quick", "--json"],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        check=False,
        timeout=50,
    )
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert said["figures"]["whole × 4: odyssai"]["value"] > 0
    assert said["figures"]["stream × 4: odyssai"]["value"] > 0
