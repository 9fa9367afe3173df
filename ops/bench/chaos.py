"""Random faults under load, with a checker that knows every expected token.

The same talks are had twice: undisturbed, which tells what each answer has to be, and then by many
clients at once while processes are killed, stopped and cut off on a schedule that comes from the
seed. docs/reliability.md tells what is promised; what neither went well nor is a fault's allowed
cost makes the exit status 1, and the processes' logs are kept.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import uvloop

from ops.bench._chaos.acts import Scene
from ops.bench._chaos.campaign import Campaign
from ops.bench._chaos.faults import CLIENTS, FAULTS, MESH, Fault
from ops.bench._chaos.ledger import Hit, Ledger
from ops.bench._chaos.load import Load
from ops.bench._chaos.rehearsal import rehearse
from ops.bench._chaos.schedule import Planned, planned
from ops.bench._chaos.story import Story
from ops.bench._chaos.talks import talks
from ops.bench._chaos.upstream import MODEL, NAME
from ops.bench._chaos.vitals import Vitals
from ops.bench._chaos.world import World
from ops.bench._models import BUNDLED, tiny
from ops.bench._report import Report, say

STREAMS = 32
OF_EACH = 3
"""Talks of every kind."""
PAUSE_S = 0.5
"""Between two talks of a client, on the average."""


def main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    plans = plans_of(args)
    schedule = [f"{plan}" for plan in sorted(chain(*plans), key=lambda plan: plan.at_s)]
    say(f"chaos: seed {args.seed}, {args.minutes:g} minutes, {args.streams} streams")
    say("\n".join(schedule))
    folder = Path(tempfile.mkdtemp(prefix="odyssai-chaos-"))
    report = Report("chaos", [f"Seed {args.seed}; {args.streams} streams at a time."])
    try:
        story = uvloop.run(measure(args, folder, plans, schedule))
    except BaseException:
        say(f"chaos: the processes' logs are in {folder}")
        raise
    story.tell(report)
    if args.report:
        args.report.write_text(json.dumps(story.as_json(report)))
    status = report.close(as_json=args.json)
    if status:
        say(f"chaos: seed {args.seed}; the processes' logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="odyssai bench chaos",
        description="Random faults under load, with a checker that knows every expected token.",
        epilog="Faults: " + "; ".join(f"{name}: {fault.what}" for name, fault in FAULTS.items()),
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="under load (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of talks and faults (%(default)s)")
    parser.add_argument("--streams", type=int, default=STREAMS, help="at a time (%(default)s)")
    parser.add_argument(
        "--faults", type=_faults, default=list(FAULTS.values()), help="these only, with commas"
    )
    parser.add_argument(
        "--calm", type=float, default=0.0, help="seconds more between two faults (%(default)s)"
    )
    parser.add_argument(
        "--servers", type=int, choices=(1, 3), default=1, help="of the bus (%(default)s)"
    )
    parser.add_argument("--model", help=f"a folder, or {BUNDLED} (default: a tiny random one)")
    parser.add_argument(
        "--pause", type=float, default=PAUSE_S, help="seconds between two talks (%(default)s)"
    )
    parser.add_argument("--report", type=Path, help="write the whole story there, as JSON")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _faults(text: str) -> list[Fault]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no {', '.join(unknown)}; there are {', '.join(FAULTS)}"
        )
    return [FAULTS[name] for name in names]


def plans_of(args: argparse.Namespace) -> list[list[Planned]]:
    """One for the mesh and one for its clients, which go on side by side."""
    return [
        planned(
            args.seed,
            60 * args.minutes,
            [f for f in kinds if f in args.faults and f.servers in (None, args.servers)],
            args.calm,
        )
        for kinds in (MESH, CLIENTS)
    ]


async def measure(
    args: argparse.Namespace, folder: Path, plans: list[list[Planned]], schedule: list[str]
) -> Story:
    source = args.model or str(await asyncio.to_thread(tiny, folder))
    async with World.open(folder, source, args.servers) as world:
        said = talks(args.seed, OF_EACH, world.model, f"{NAME}:{MODEL}")
        exchanges = await rehearse(world.door, said)
        say(f"chaos: {sum(map(len, exchanges))} exchanges are known; the load begins")
        ledger, hits, vitals = Ledger(), list[Hit](), Vitals(world)
        load = Load(world.door, exchanges, ledger, args.seed, args.pause)
        scene, over, began = Scene(world, load), asyncio.Event(), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(vitals.run())
            asking = tasks.create_task(load.run(args.streams, over))
            breaking = [Campaign(scene, hits).run(plan, 60 * args.minutes) for plan in plans]
            await asyncio.gather(*breaking, asyncio.sleep(60 * args.minutes))
            over.set()
            await asking
            sampling.cancel()
        span_s = time.monotonic() - began
        return Story(
            seed=args.seed,
            schedule=schedule,
            began=began,
            span_s=span_s,
            ledger=ledger,
            hits=hits,
            lives=vitals.lives,
            resumed=world.presence.resumed,
            telling=vitals.telling(),
        )
