"""The benchmark runs against real engines; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

from ops.bench._conversations import conversations
from ops.bench.route import FULL

SAID = FULL.said


def test_conversations_are_the_same_for_the_same_seed() -> None:
    assert conversations(SAID, 1) == conversations(SAID, 1)
    assert conversations(SAID, 1) != conversations(SAID, 2)


def test_tenants_share_a_system_prompt_and_nothing_else() -> None:
    said = conversations(SAID)
    questions = [question.words for each in said for question in each.questions]

    assert len({each.system for each in said}) <= SAID.tenants < len(said)
    assert len(set(questions)) == len(questions) == SAID.sessions * SAID.turns
    assert [each.starts_s for each in said] == sorted(each.starts_s for each in said)


def test_route_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.command", "bench", "route", "--quick", "--json"],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        check=False,
        timeout=100,
    )
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["met"] else 1)
    assert said["figures"]["scheduler: cached"]["value"] > 0
    assert said["figures"]["round robin: first token, p50"]["value"] > 0
