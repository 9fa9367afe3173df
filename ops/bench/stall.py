"""How long a running stream stands still while somebody else's long prompt is read.

The worst gap between two of its tokens, as a part of what reading that prompt takes when nothing
else runs.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import uvloop

from ops.bench._load import Server
from ops.bench._mesh import mesh
from ops.bench._models import BUNDLED, prompt, text, tiny
from ops.bench._peers import peer
from ops.bench._report import Report, paired, parser, say

AIM = 0.1
CONTEXT = 32_768


@dataclass(frozen=True)
class Extent:
    rounds: int
    words: int
    """Of the cold prompt; the tiny model makes three tokens of each, SmolLM2 one."""


@dataclass(frozen=True)
class Stall:
    """What one side did in one round, in seconds."""

    prefill_s: float
    """The prompt alone."""
    gap_s: float
    """The stream's worst while a prompt of that length is read."""
    tokens: int
    """Of the prompt, as the server counts them."""


def main(argv: Sequence[str]) -> int:
    arguments = parser("stall", "The longest silence of a stream during a cold prompt.", 5)
    arguments.add_argument("--smollm2", action="store_true", help="measure it, too, without peers")
    args = arguments.parse_args(argv)
    report = Report("stall", ["Gap in a running stream ÷ time to read the prompt when alone."])
    extent = Extent(1, 300) if args.quick else Extent(args.rounds, 2500)
    uvloop.run(measure(report, extent))
    if args.smollm2:
        uvloop.run(measure_bundled(report, Extent(1, 1500)))
    return report.close(as_json=args.json)


async def measure(report: Report, extent: Extent) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="odyssai-bench-")))
        model = tiny(folder, CONTEXT)
        ours = await (await stack.enter_async_context(mesh(str(model)))).server()
        theirs = await stack.enter_async_context(peer("mlx_lm.server", model, folder))
        await _take_turns(report, "tiny", (ours, theirs), extent)


async def measure_bundled(report: Report, extent: Extent) -> None:
    async with mesh(BUNDLED) as mesh_:
        await _take_turns(report, BUNDLED, (await mesh_.server(),), extent)


async def _take_turns(
    report: Report, model: str, sides: tuple[Server, ...], extent: Extent
) -> None:
    seen: dict[str, list[Stall]] = {side.name: [] for side in sides}
    for side in sides:
        await _stall(side, "warm", Extent(1, extent.words // 4))
    for turn in range(extent.rounds):
        for side in sides:
            stall = await _stall(side, f"{turn}", extent)
            seen[side.name].append(stall)
            say(f"stall: {model}, {side.name}: {stall}")
    for side in sides:
        _tell(report, model, side, seen[side.name])


def _tell(report: Report, model: str, side: Server, seen: list[Stall]) -> None:
    ratio = paired([stall.gap_s for stall in seen], [stall.prefill_s for stall in seen])
    name = f"{model}, {side.name}"
    report.add(name, ratio, at_most=AIM if side.name == "odyssai" else None)
    report.add(f"{name}: worst gap", 1e3 * median(s.gap_s for s in seen), "ms")
    report.add(f"{name}: prompt alone", 1e3 * median(s.prefill_s for s in seen), "ms")
    report.add(f"{name}: prompt", seen[0].tokens, "tokens")


async def _stall(side: Server, mark: str, extent: Extent) -> Stall:
    alone = await side.ask(side.question(_long(f"{mark}-alone", extent.words), 1))
    async with side.lines(1) as (line,):
        stream = line.ask(side.question(prompt(f"{mark}-stream", 10), 20_000))
        while len(line.answer.text_at) < 20:
            await asyncio.sleep(0.01)
        cold = await side.ask(side.question(_long(f"{mark}-cold", extent.words), 1))
        seen = [at for at in line.answer.text_at if at > cold.asked_at]
        assert not stream.done(), "the stream outlives the prompt"
        stream.cancel()
    times = [cold.asked_at, *seen, cold.ended_at]
    gap_s = max(b - a for a, b in pairwise(times))
    await asyncio.sleep(1.0)
    return Stall(alone.whole_s, gap_s, int(alone.usage["prompt_tokens"]))


def _long(mark: str, words: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{mark}: {text(mark, words)}"}]
