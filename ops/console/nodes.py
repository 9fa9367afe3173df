"""`odyssai nodes`: the machines, what each may hold and what it holds."""

import argparse
from collections.abc import Iterable

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.words import share, size
from proto.overview import EngineView, NodeView, Overview
from proto.presence import TaskStatus


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    seen = await jobs.look_around(bus)
    if args.json:
        print(msgspec.json.encode(seen.nodes).decode())
    else:
        show(table(seen))
    return 0


def table(seen: Overview) -> Table:
    return Table(
        heads=("NODE", "STATE", "HOST", "MEMORY FREE", "DISK FREE", "ENGINES", "WORK"),
        rows=[_row(node) for node in seen.nodes],
        nothing="No node is there; `odyssai runner` starts one.",
        notes=list(_notes(seen)),
    )


def _row(node: NodeView) -> tuple[str, ...]:
    memory = f"{size(node.memory.free)} of {size(node.memory.wirable)}"
    return (
        node.node,
        node.state,
        node.host,
        memory if node.memory.wirable else "",
        size(node.free_disk_bytes) if node.free_disk_bytes else "",
        ", ".join(map(_engine, node.engines)),
        ", ".join(map(_task, node.tasks)),
    )


def _engine(engine: EngineView) -> str:
    return engine.model if engine.phase == "ready" else f"{engine.model} ({engine.phase})"


def _task(task: TaskStatus) -> str:
    return f"{task.step or task.phase} {share(task.done_bytes, task.total_bytes)}".rstrip()


def _notes(seen: Overview) -> Iterable[str]:
    if not seen.leader:
        yield "No scheduler leads at this moment: nothing is loaded or moved."
    for node in seen.nodes:
        for held in node.quarantined:
            yield (
                f"{held.model} is quarantined on {node.node}: {held.reason.rstrip('.')}. "
                f"`odyssai load {held.model} --lift-quarantine` tries it again."
            )
        for engine in node.engines:
            if engine.detail and engine.phase != "ready":
                yield f"{engine.model} on {node.node}: {engine.detail}"
