"""One rank as a process: ``rank.py MODEL GROUP`` with MLX_RANK and MLX_HOSTFILE as mlx wants them.

Rank 0 reads a line of JSON from standard input, what to do before which step, and prints what every
request said; the others follow.
"""

import json
import os
import sys
from pathlib import Path

import msgspec

from services.runner.engine import blas

blas.preload()

from proto.frames import Delta, End, Failed  # noqa: E402
from proto.generation import Sampling  # noqa: E402
from proto.group import Group  # noqa: E402
from proto.ids import RequestId  # noqa: E402
from services.runner.engine.batching.batch import Batch  # noqa: E402
from services.runner.engine.batching.execution import Execution  # noqa: E402
from services.runner.engine.batching.sequence import Sequence  # noqa: E402
from services.runner.engine.group import cores  # noqa: E402
from services.runner.engine.group.following import Follower  # noqa: E402
from services.runner.engine.group.joining import join  # noqa: E402
from services.runner.engine.group.leading import Leading  # noqa: E402

SLOTS = 64


def main(model: str, group: str) -> None:
    ranks = msgspec.json.decode(group, type=Group)
    cores.share(int(os.environ["MLX_RANK"]), len(ranks.members))
    joined = join(ranks, model, Path(model).parent, os.environ["VERSIONS"])
    if os.environ["MLX_RANK"] == "0":
        print(json.dumps(played(Leading(joined), json.loads(sys.stdin.readline()))), flush=True)
    else:
        follower = Follower(joined, SLOTS, rest=never)
        follower.follow()
        print(json.dumps({"left": follower.held}), flush=True)


def never(_: int) -> None:
    """A script has no pauses."""
    raise AssertionError("the leader lets the others rest")


def played(execution: Execution, script: list[dict[str, object]]) -> dict[str, object]:
    """``script``: what comes before so many ``steps``, ``ask`` and ``cancel``.

    With ``tell`` in its first entry every token is printed as it comes. ``ahead`` is told how many
    steps the others could begin before they heard of them.
    """
    batch = Batch(execution, slots=SLOTS, cache_bytes=1 << 20)
    batch.warm()
    said: dict[str, list[int]] = {}
    ends: dict[str, object] = {}
    tells = bool(script) and bool(script[0].get("tell"))
    ahead = 0
    for before in [*script, {}]:
        for asked in before.get("ask", []):  # type: ignore[attr-defined]
            batch.add(_sequence(**asked))
        for name in before.get("cancel", []):  # type: ignore[attr-defined]
            batch.cancel(RequestId(name))
        steps = before.get("steps", 1) if before else 100_000
        while steps and batch.has_work:
            steps -= 1  # type: ignore[operator]
            frames = batch.step()
            ahead += isinstance(execution, Leading) and execution.has_promised
            for request, frame in frames:
                if isinstance(frame, Delta):
                    said.setdefault(request, []).extend(frame.tokens)
                    if tells:
                        print(*frame.tokens, sep="\n", flush=True)
                elif isinstance(frame, End):
                    ends[request] = [frame.reason, frame.usage.cached_tokens]
                elif isinstance(frame, Failed):
                    ends[request] = frame.code
    batch.end()
    batch.close()
    return {"said": said, "ends": ends, "ahead": ahead}


def _sequence(name: str, prompt: list[int], tokens: int, **asked: object) -> Sequence:
    session = asked.pop("session", None)
    sampling = msgspec.convert({"temperature": 0.0} | asked, Sampling, strict=False)
    return Sequence(RequestId(name), prompt, tokens, sampling, session=session)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
