"""Tokens a second through the whole mesh, against the bare generator in one process.

Both read the same prompts and generate the same tokens; they take turns, so that the idle one
costs nothing.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from ops.bench._children import Running, running
from ops.bench._load import Server, rate
from ops.bench._mesh import mesh
from ops.bench._models import BUNDLED, Message, brief, tiny
from ops.bench._report import Report, paired, parser, say

AIM = 0.95
WARMING = 4
"""Tokens of a first, unmeasured turn."""


@dataclass(frozen=True)
class Extent:
    """How many tokens every stream has, by the number of streams."""

    rounds: int
    tokens: dict[int, int]


TINY = Extent(7, {1: 256, 4: 256, 16: 256})
SMOL = Extent(3, {1: 48, 4: 64, 16: 96})
QUICK = Extent(1, {1: 8, 4: 8})


def main(argv: Sequence[str]) -> int:
    arguments = parser("engine", "The mesh against the bare BatchGenerator.", SMOL.rounds)
    arguments.add_argument("--only", choices=("tiny", BUNDLED), help="one model instead of both")
    args = arguments.parse_args(argv)
    report = Report(
        "engine", ["The client shares the cores with the mesh, not with the bare side."]
    )
    with tempfile.TemporaryDirectory(prefix="odyssai-bench-") as folder:
        if args.only != BUNDLED:
            model = str(tiny(Path(folder)))
            extent = QUICK if args.quick else TINY
            uvloop.run(measure(report, "tiny", model, extent, None))
        if args.only != "tiny" and not args.quick:
            extent = Extent(args.rounds, SMOL.tokens)
            uvloop.run(measure(report, BUNDLED, BUNDLED, extent, AIM))
    return report.close(as_json=args.json)


async def measure(report: Report, name: str, model: str, extent: Extent, aim: float | None) -> None:
    async with AsyncExitStack() as stack:
        mesh_ = await stack.enter_async_context(mesh(model))
        server = await mesh_.server()
        bare = await stack.enter_async_context(bare_side(model, mesh_.home))
        for streams, tokens in extent.tokens.items():
            ours, theirs = [], []
            for turn in range(-1, extent.rounds):
                prompts = [brief(f"{turn}-{streams}-{i}") for i in range(streams)]
                wanted = tokens if turn >= 0 else WARMING
                questions = [server.question(each, wanted) for each in prompts]
                ours.append(rate(await server.ask_all(questions)))
                theirs.append(await bare.rate(prompts, wanted))
                say(f"engine: {name} × {streams}: {ours[-1]:.1f} against {theirs[-1]:.1f} tok/s")
            _tell(report, f"{name} × {streams}", server, ours[1:], theirs[1:], aim)


def _tell(
    report: Report,
    name: str,
    server: Server,
    ours: list[float],
    theirs: list[float],
    aim: float | None,
) -> None:
    report.add(name, paired(ours, theirs), at_least=aim)
    report.add(f"{name}: {server.name}", sorted(ours)[len(ours) // 2], "tok/s")
    report.add(f"{name}: bare", sorted(theirs)[len(theirs) // 2], "tok/s")


@dataclass(frozen=True)
class Bare:
    program: Running

    async def rate(self, prompts: list[list[Message]], max_tokens: int) -> float:
        """Tokens a second, measured where they are made."""
        asked = {"conversations": prompts, "max_tokens": max_tokens}
        stdin = self.program.process.stdin
        assert stdin is not None, "it is spoken to"
        stdin.write(json.dumps(asked).encode() + b"\n")
        answer = await self.answer()
        return float(answer["tokens"] / answer["seconds"])

    async def answer(self) -> dict[str, Any]:
        stdout = self.program.process.stdout
        assert stdout is not None, "it is listened to"
        line = await asyncio.wait_for(stdout.readline(), 300)
        assert line, self.program.last_words()
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def bare_side(model: str, home: Path) -> AsyncIterator[Bare]:
    argv = (sys.executable, "-m", "ops.bench._bare", model, str(home))
    async with running(argv, home.parent / "bare.log", is_spoken_to=True) as program:
        bare = Bare(program)
        await bare.answer()
        yield bare
