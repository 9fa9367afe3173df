"""`odyssai doctor`: asks every node, judges, and says it."""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping

import msgspec

from bus import jobs
from bus.config import look_at, open_layers
from bus.connection import Bus
from bus.errors import BusError
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.doctor.finding import Finding
from ops.doctor.findings import Asked, Seen, exit_status, findings
from proto.cluster import ClusterConfig
from proto.errors import MeshError
from proto.examination import Examine
from proto.ids import NodeId
from proto.overview import Overview
from proto.subjects import EXAMINE

ANSWER_S = 8.0
"""A node tries others for two seconds, and macOS takes its time to list devices."""


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    found = list(findings(await look(bus, tries_ways=not args.quick)))
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        show(_table(found))
    return exit_status(found)


async def look(bus: Bus, *, tries_ways: bool) -> Seen:
    """``tries_ways``: have each node connect to each other one. Raises MeshError, BusError."""
    overview = await jobs.look_around(bus)
    asked = await _ask(bus, overview, {})
    if tries_ways:
        addresses = {node: each.told.address for node, each in asked.items() if each.told.address}
        asked = await _ask(bus, overview, addresses)
    return Seen(overview=overview, nodes=asked, clusters=await _clusters(bus))


async def _ask(
    bus: Bus, overview: Overview, addresses: Mapping[NodeId, str]
) -> dict[NodeId, Asked]:
    """Those who answer, asked side by side."""
    nodes = [node.node for node in overview.nodes if node.state != "silent"]
    answers = await asyncio.gather(*(_examined(bus, node, addresses) for node in nodes))
    return {asked.told.node: asked for asked in answers if asked is not None}


async def _examined(bus: Bus, node: NodeId, addresses: Mapping[NodeId, str]) -> Asked | None:
    peers = tuple(address for other, address in addresses.items() if other != node)
    try:
        begun, begun_s = time.monotonic(), time.time()
        told = await bus.ask(EXAMINE, Examine(peers=peers), node, timeout_s=ANSWER_S)
    except (BusError, MeshError) as error:
        print(f"odyssai: {node}: {error}", file=sys.stderr)
        return None
    whole_s = time.monotonic() - begun
    round_trip_s = max(whole_s - told.took_s, 0.0)
    return Asked(told, round_trip_s, told.now_s - (begun_s + whole_s - round_trip_s / 2))


async def _clusters(bus: Bus) -> Mapping[str, ClusterConfig]:
    config = (await look_at(await open_layers(bus))).effective
    return {name: cluster for name, cluster in (config.clusters or {}).items() if cluster}


def _table(found: list[Finding]) -> Table:
    bad = sum(each.level == "FAIL" for each in found)
    doubtful = sum(each.level == "WARN" for each in found)
    return Table(
        heads=("", "WHERE", "WHAT", ""),
        rows=[(each.level, each.subject, each.check, each.said) for each in found],
        nothing="",
        notes=[f"{len(found)} checks, {bad} failed, {doubtful} doubtful"],
    )
