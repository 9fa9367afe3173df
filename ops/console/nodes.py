"""`odyssai nodes`: the machines, what each may hold and what it holds."""

import argparse
import math
from collections.abc import Iterable, Iterator

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.words import brief, rate, share, size
from proto.ids import NodeId
from proto.link import Link
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
        heads=("NODE", "STATE", "HOST", "MEMORY FREE", "DISK FREE", "ENGINES", "LINKS", "WORK"),
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
        ", ".join(_links(node.links)),
        ", ".join(map(_task, node.tasks)),
    )


def _engine(engine: EngineView) -> str:
    said = [f"rank {engine.rank} of {len(engine.group.members)}"] if engine.group else []
    said += [engine.phase] if engine.phase != "ready" else []
    return f"{engine.model} ({', '.join(said)})" if said else engine.model


def _links(links: tuple[Link, ...]) -> Iterator[str]:
    """The fastest to each other node, with the time there and back."""
    for peer, link in fastest(links).items():
        if link.round_trip_s is None:
            yield f"{peer} not reached"
        else:
            yield " ".join(filter(None, (peer, brief(link.round_trip_s), rate(link.bytes_per_s))))


def fastest(links: tuple[Link, ...]) -> dict[NodeId, Link]:
    """By peer; one that was not reached where none was."""
    found: dict[NodeId, Link] = {}
    for link in links:
        other = found.get(link.peer)
        if other is None or _trip_s(link) < _trip_s(other):
            found[link.peer] = link
    return found


def _trip_s(link: Link) -> float:
    return math.inf if link.round_trip_s is None else link.round_trip_s


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
