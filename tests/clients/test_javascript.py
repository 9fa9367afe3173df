"""Clients from npm against the real mesh: what Python's parsers forgive, theirs may not."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.house import Mesh
from tests.parrot import script

HERE = Path(__file__).parent / "js"
THOUGHT, SAID, CITY = "Two and two make four.", "It is four: ½ + 3½ = 4. 🌊", 'Saint "Malo"\n'
QUESTION = {
    "thoughtful": script(f"<think>{THOUGHT}</think>\n\n{SAID}"),
    "calling": script(
        '<tool_call>\n{"name": "weather", "arguments": '
        + json.dumps({"city": CITY})
        + "}\n</tool_call>"
    ),
    "result": "It rains there.",
}
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The scripts beside their packages, installed once for each lock file."""
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "odyssai-tests" / f"js-{lock}"
    if not (folder / "node_modules" / ".package-lock.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=150)
    for client in HERE.glob("*.mjs"):
        shutil.copy(client, folder)
    return folder


def ask(packages: Path, client: str, mesh: Mesh) -> Any:
    question = json.dumps({"base": mesh.url, "model": "parrot", **QUESTION})
    ended = subprocess.run(
        ["node", f"{client}.mjs", question],
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("client", ["openai", "ai_sdk", "anthropic"])
def test_thinking_and_text_arrive_apart(client: str, packages: Path, mesh: Mesh) -> None:
    streamed = ask(packages, client, mesh)["streamed"]

    assert streamed["reasoning"].strip() == THOUGHT
    assert streamed["content"] == SAID
    assert streamed["finish"] in ("stop", "end_turn")
    assert streamed["usage"]


@pytest.mark.parametrize("client", ["openai", "ai_sdk", "anthropic"])
def test_a_tool_is_called_and_its_result_answered(client: str, packages: Path, mesh: Mesh) -> None:
    looped = ask(packages, client, mesh)["looped"]

    assert looped["asked"] == [{"city": CITY}]
    assert looped["final"] == QUESTION["result"]
