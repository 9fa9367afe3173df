"""What the README shows works as it stands, but for the address and the model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.house import Mesh

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
EXAMPLES = [
    (kind, code) for kind, code in BLOCKS if kind == "python" or code.startswith("curl http")
]


def test_there_is_an_example_of_each_dialect_for_curl_and_for_the_sdks() -> None:
    said = [(kind, "anthropic" in code.lower() or "/messages" in code) for kind, code in EXAMPLES]

    assert sorted(said) == [("python", False), ("python", True), ("sh", False), ("sh", True)]


@pytest.mark.parametrize(("kind", "code"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(mesh: Mesh, kind: str, code: str) -> None:
    code = code.replace("http://127.0.0.1:8000", mesh.url)
    code = code.replace("SmolLM2-135M-Instruct", "tiny")
    # The tiny model never ends its turn by itself.
    code = code.replace('"temperature": 0,', '"temperature": 0, "max_tokens": 16,')
    code = code.replace("    stream=True,", "    stream=True, max_tokens=16,")
    shell = ["bash", "-euc", code.replace("curl ", "curl -fsSN ")]

    ran = subprocess.run(
        [sys.executable, "-c", code] if kind == "python" else shell,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert len(ran.stdout.strip()) > 0
