"""Answers of ranks are those of one process that has the whole model, token for token."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from proto.group import Group, Member, Split
from proto.ids import EngineId
from services.runner.engine.batching.execution import Execution
from tests.mesh.house import ROOT
from tests.ranks.rank import played
from tests.tiny import Shape, make_tiny

Script = list[dict[str, Any]]
WITHIN_S = 60.0
STUCK_S = 5.0
"""Whole answers take a fraction of it."""


class Way(NamedTuple):
    """A model, and how many ranks have it."""

    shape: Shape
    split: Split
    ranks: int
    layers: tuple[int, ...] = ()


TWO = Way(Shape(), "tensor", 2)
THREE = Way(Shape(heads=6, kv_heads=3, feed_forward=192), "tensor", 3)
STAGES = Way(Shape("qwen2", layers=5), "pipeline", 2)
UNEVEN = Way(Shape("qwen2", layers=5), "pipeline", 3, (3, 1, 1))
ALL = pytest.mark.parametrize("way", [TWO, THREE, STAGES, UNEVEN], ids=str)


@contextmanager
def started(way: Way, model: Path, versions: str = "1") -> Iterator[list[subprocess.Popen[str]]]:
    """A process for each rank."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(way.ranks)]
    ports = [at.getsockname()[1] for at in sockets]
    for at in sockets:
        at.close()
    hosts = model.parent / f"{model.name}-hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
    layers = way.layers or (0,) * way.ranks
    members = tuple(
        Member(engine=EngineId(f"n{rank}.tiny"), layers=count) for rank, count in enumerate(layers)
    )
    group = msgspec.json.encode(Group(split=way.split, members=members)).decode()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ranks.rank", str(model), group],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MLX_RANK": str(rank),
                "MLX_HOSTFILE": str(hosts),
                "VERSIONS": f"{versions if rank else '1'}",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(way.ranks)
    ]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


def run(way: Way, model: Path, script: Script) -> dict[str, Any]:
    """What rank 0 says; the others have nothing left when they end."""
    with started(way, model) as (first, *others):
        said, trouble = first.communicate(json.dumps(script) + "\n", timeout=WITHIN_S)
        assert first.returncode == 0, trouble
        for other in others:
            left, trouble = other.communicate(timeout=WITHIN_S)
            assert (other.returncode, json.loads(left or "{}")) == (0, {"left": 0}), trouble
    answers: dict[str, Any] = json.loads(said)
    return answers


def alone(model: Path, script: Script) -> dict[str, Any]:
    return played(Execution.of(str(model), model.parent), script)


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[Shape, Path] = {}

    def model(shape: Shape) -> Path:
        if shape not in made:
            folder = tmp_path_factory.mktemp("split") / "tiny"
            made[shape] = make_tiny(folder, context_length=1024, shape=shape)
        return made[shape]

    return model


def asked(count: int, seed: int, first: str = "r") -> list[dict[str, Any]]:
    """Prompts of all lengths, some of which begin alike."""
    draw = random.Random(seed)
    openings = [[draw.randrange(3, 512) for _ in range(40)] for _ in range(3)]
    return [
        {
            "name": f"{first}{at}",
            "prompt": [
                *draw.choice([[], *openings]),
                *(draw.randrange(3, 512) for _ in range(draw.choice([1, 7, 30, 150]))),
            ],
            "tokens": draw.choice([1, 5, 20, 40]),
        }
        for at in range(count)
    ]


DRAWN: list[dict[str, Any]] = [
    {"name": "seeded", "prompt": [9, 8, 7], "tokens": 30, "temperature": 1, "seed": 4},
    {"name": "cut", "prompt": [5] * 9, "tokens": 30, "temperature": 2, "top_k": 5, "seed": 11},
    {"name": "penal", "prompt": [9, 8, 7], "tokens": 30, "repetition_penalty": 1.3},
    {"name": "bias", "prompt": [9, 8, 7], "tokens": 9, "logit_bias": {"77": 100}},
]


LONG = [
    {"name": name, "prompt": [7, at, 9], "tokens": 120} for at, name in enumerate(("stays", "left"))
]


@ALL
def test_a_batch_of_32_with_arrivals_and_cancels_says_what_one_process_says(
    way: Way, model_of: Any
) -> None:
    model = model_of(way.shape)
    script: Script = [
        {"ask": asked(16, 1), "steps": 12},
        {"ask": asked(8, 2, "later"), "cancel": ["r3", "r5"], "steps": 9},
        {"ask": asked(8, 3, "last"), "cancel": ["later0", "r7", "nobody"], "steps": 5},
        {"ask": DRAWN, "steps": 400},
        # All over again: what was read before is known, and the prefix cache has been full.
        {"ask": asked(16, 1, "again"), "steps": 400},
        # In the middle of steps that follow one another unheard one leaves, and another comes.
        {"ask": LONG, "steps": 40},
        {"cancel": ["left"], "steps": 20},
        {"ask": asked(1, 5, "comes"), "steps": 400},
    ]
    whole, split = alone(model, script), run(way, model, script)

    over = {name for name, end in whole["ends"].items() if isinstance(end, list)}
    assert {name for name, end in split["ends"].items() if isinstance(end, list)} == over
    assert len(over) >= 46
    assert {"stays", "comes0"} <= over
    assert "left" not in over
    # Where in the batch's steps a cancel meets its answer differs with how long chunks are.
    assert {n: split["said"][n] for n in over} == {n: whole["said"][n] for n in over}
    assert split["said"]["bias"] == [77] * 9
    assert split["ahead"] > 50, "others begin most steps unheard"
    assert any(cached for _, cached in (split["ends"][name] for name in over))


def test_a_session_is_found_again_by_every_rank(model_of: Any) -> None:
    way, first = UNEVEN, list(range(3, 60))
    model = model_of(way.shape)
    opening = {"name": "one", "prompt": first, "tokens": 8, "session": "s"}
    said = alone(model, [{"ask": [opening]}])["said"]["one"]
    more = {"name": "two", "prompt": [*first, *said, 20, 21], "tokens": 8, "session": "s"}
    script: Script = [{"ask": [opening], "steps": 99}, {"ask": [more]}]
    split = run(way, model, script)
    assert split["said"] == alone(model, script)["said"]
    assert split["ends"]["two"][1] >= len(first)


def test_ranks_of_different_versions_do_not_serve(model_of: Any) -> None:
    with started(TWO, model_of(TWO.shape), versions="2") as ranks:
        for rank in ranks:
            _, trouble = rank.communicate("[]\n", timeout=WITHIN_S)
            assert rank.returncode != 0
            assert "rank 0 and rank 1 hold different files of this model" in trouble


def _ends(process: subprocess.Popen[str], within_s: float) -> bool:
    """What it says meanwhile stays in its pipes, which hold all of it."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize("way", [TWO, UNEVEN], ids=str)
def test_no_token_is_told_once_a_rank_is_gone(way: Way, model_of: Any) -> None:
    """The backend goes on with what it has, whose tokens would be nonsense, or waits for ever: in a
    mesh the ranks watch one another, and end whoever waits.
    """
    model = model_of(way.shape)
    script: Script = [{"ask": [{"name": "long", "prompt": [3, 4, 5], "tokens": 900}]}]
    whole = alone(model, script)["said"]["long"]
    with started(way, model) as (first, *others):
        assert first.stdin
        assert first.stdout
        first.stdin.write(json.dumps([{"tell": True}, *script]) + "\n")
        first.stdin.flush()
        told = [int(first.stdout.readline()) for _ in range(50)]
        others[-1].send_signal(signal.SIGKILL)
        has_ended = _ends(first, STUCK_S)
        first.kill()
        rest, trouble = first.communicate()
        told += [int(line) for line in rest.splitlines()]
    if has_ended:
        assert first.returncode != 0
        assert "GroupLost" in trouble
    assert told == whole[: len(told)]
    assert len(told) < len(whole)
