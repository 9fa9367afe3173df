"""The mesh against other servers of MLX models: throughput, first tokens, conversations.

Same model, prompts and tokens, one client, one BLAS; the sides take turns in every round.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from ops.bench._load import Server, rate
from ops.bench._mesh import mesh
from ops.bench._models import Message, prompt, text, tiny
from ops.bench._peers import NAMES, peer
from ops.bench._report import Figure, Report, paired, parser, say

WORDS = 20
SLACK_MS = 3.0
"""What the bus may cost before the first token, beside a server that has none."""
CROWDED = 16
"""From so many streams on, mlx-lm's own server is to be left well behind."""
ANSWER = "That is a good question, and the answer is not hard."


@dataclass(frozen=True)
class Extent:
    rounds: int
    streams: tuple[int, ...] = (1, 4, 16, 64)
    tokens: int = 128
    samples: int = 5
    """First tokens measured in every turn."""
    beside: int = 4
    """Streams that run while another arrives."""
    long_words: int = 400
    """Of every question of a conversation."""


QUICK = Extent(1, streams=(1, 4), tokens=16, samples=1, beside=1, long_words=20)

Seen = dict[str, list[float]]
"""What was measured in each round, by the name of the figure."""


def main(argv: Sequence[str]) -> int:
    arguments = parser("peer-mlx", "The mesh against other servers of MLX models.", 3)
    arguments.add_argument(
        "--peers", choices=("mlx", "all"), default="mlx", help="all: vllm-mlx, too (several GB)"
    )
    args = arguments.parse_args(argv)
    names = NAMES if args.peers == "all" else NAMES[:1]
    extent = QUICK if args.quick else Extent(args.rounds)
    report = uvloop.run(measure(names, extent))
    return report.close(as_json=args.json)


async def measure(peers: Sequence[str], extent: Extent) -> Report:
    report = Report(
        "peer-mlx",
        ["Tiny model; every side with its own defaults; the client shares the cores with all."],
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="odyssai-bench-")))
        model = tiny(folder)
        ours = await (await stack.enter_async_context(mesh(str(model)))).server()
        theirs = [await stack.enter_async_context(peer(name, model, folder)) for name in peers]
        seen: dict[str, Seen] = {side.name: defaultdict(list) for side in (ours, *theirs)}
        for turn in range(-1, extent.rounds):
            for side in (ours, *theirs):
                say(f"peer-mlx: round {turn + 1} of {extent.rounds}, {side.name}")
                found = await _turn(side, f"{turn}", extent)
                for name, value in found.items():
                    # The first turn warms up.
                    seen[side.name][name] += [value] if turn >= 0 else []
    for side in theirs:
        for name in seen[ours.name]:
            report.figures += _compared(
                name, side.name, seen[ours.name][name], seen[side.name][name]
            )
    return report


async def _turn(side: Server, mark: str, extent: Extent) -> dict[str, float]:
    """One value for every figure: tokens a second, and milliseconds to first tokens."""
    found: dict[str, float] = {}
    for streams in extent.streams:
        found[f"{streams} streams"] = await _throughput(side, f"{mark}-{streams}", streams, extent)
    found["first token alone"] = median(
        [await _first_ms(side, prompt(f"{mark}-alone-{i}", WORDS)) for i in range(extent.samples)]
    )
    found["first token beside others"] = await _arriving(side, mark, extent)
    found["first token of a third turn"] = await _third_turn(side, mark, extent)
    return found


async def _throughput(side: Server, mark: str, streams: int, extent: Extent) -> float:
    questions = [side.question(prompt(f"{mark}-{i}", WORDS), extent.tokens) for i in range(streams)]
    return rate(await side.ask_all(questions))


async def _first_ms(side: Server, messages: list[Message]) -> float:
    return 1e3 * (await side.ask(side.question(messages, 8))).first_s


async def _arriving(side: Server, mark: str, extent: Extent) -> float:
    """The median over requests that arrive, one by one, while others stream."""
    running = [
        side.question(prompt(f"{mark}-beside-{i}", WORDS), 10_000) for i in range(extent.beside)
    ]
    async with side.lines(extent.beside) as lines:
        asked = [line.ask(question) for line, question in zip(lines, running, strict=True)]
        while not all(line.answer.text_at for line in lines):
            await asyncio.sleep(0.01)
        firsts = []
        for i in range(extent.samples):
            await asyncio.sleep(0.05)
            firsts.append(await _first_ms(side, prompt(f"{mark}-arriving-{i}", WORDS)))
        assert not any(each.done() for each in asked), "the others stream all the while"
        for each in asked:
            each.cancel()
    # Peers take a while to notice that a client left.
    await asyncio.sleep(1.0)
    return median(firsts)


async def _third_turn(side: Server, mark: str, extent: Extent) -> float:
    """A conversation whose first two turns were asked before, so that most of it is cached."""
    messages: list[Message] = []
    for turn in range(3):
        question = text(f"{mark}-{turn}", extent.long_words)
        messages.append({"role": "user", "content": question})
        first_ms = await _first_ms(side, messages)
        messages.append({"role": "assistant", "content": ANSWER})
    return first_ms


def _compared(name: str, peer: str, ours: list[float], theirs: list[float]) -> list[Figure]:
    """Ratios of a figure against a peer, with its aim, and what they are made of."""
    unit = "tok/s" if name.endswith("streams") else "ms"
    ratio = paired(ours, theirs)
    against = f"{name} ÷ {peer}"
    if unit == "tok/s":
        crowded = peer == "mlx_lm.server" and int(name.split()[0]) >= CROWDED
        judged = Figure(name=against, value=ratio, at_least=1.5 if crowded else 1.0)
    elif name.endswith("third turn"):
        judged = Figure(name=against, value=ratio, at_most=1.0)
    elif peer == "mlx_lm.server":
        judged = Figure(name=against, value=ratio, at_most=0.2)
    else:
        slacked = paired([max(value - SLACK_MS, 0.0) for value in ours], theirs)
        judged = Figure(name=f"({name} - 3 ms) ÷ {peer}", value=slacked, at_most=1.0)
    return [
        judged,
        Figure(name=f"{name}: odyssai", value=median(ours), unit=unit),
        Figure(name=f"{name}: {peer}", value=median(theirs), unit=unit),
    ]
