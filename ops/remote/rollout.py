"""A machine becomes what it should be, by what it lacks; where nothing is missing, nothing happens.

A node that runs is drained before it is started anew, one node of a command at a time. Where the
new release does not come up, the one before runs on.
"""

import asyncio
import shlex
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.connection import Bus
from ops.remote import credential, install, mesh, records
from ops.remote.errors import Foreign, NotSeen, Unfit
from ops.remote.keeper.keeper import Run
from ops.remote.layout import Deployed
from ops.remote.mesh import Tell
from ops.remote.records import Deployment
from ops.remote.release import Release
from ops.remote.site import Site, unreached
from proto.ids import NodeId
from proto.jobs import Drain, Undrain
from proto.overview import NodeView

LOG_LINES = 5


class Target(Struct, frozen=True, kw_only=True):
    """Where nodes are to belong, and what they are to run."""

    bus: Bus
    home: Path
    mesh: str
    addresses: tuple[str, ...]
    """Of the bus, for other machines."""
    release: Release
    turn: asyncio.Lock
    """Whose running node is started anew; the others serve on."""


async def converge(site: Site, wanted: Deployed, target: Target, tell: Tell) -> list[str]:
    """What was changed, in words. Raises RemoteError, MeshError, BusError, HomeError."""
    site.check()
    _check_deployed(site, wanted)
    changed: list[str] = []
    # All that may be refused comes before anything is changed.
    session, layout, release = site.session, site.layout, target.release
    is_stranger = await credential.is_missing(session, layout, target.bus, target.mesh, wanted.node)
    if site.machine.python:
        await _check_reach(site, site.machine.python, target)
    deployment = Deployment(host=session.host, folder=layout.folder)
    records.keep(target.home, wanted.node, deployment)
    if site.deployed != wanted:
        await session.run(f"umask 077; mkdir -p {shlex.quote(layout.folder)}")
        await session.write(layout.deployed, _json(wanted))
    if not await install.is_there(session, layout, release.name):
        tell("installing")
        await install.install(session, layout, site.machine, release)
        changed.append(f"installed {release.name}")
    if not site.machine.python:
        await _check_reach(site, f"{layout.release(release.name)}/venv/bin/python", target)
    if is_stranger:
        tell("letting it in")
        await credential.enter(session, layout, target.bus, wanted.node, release.name)
        changed.append("let in")
    changed += await _run(site, wanted, target, tell)
    if await install.prune(site.session, site.layout, target.release.name) and not changed:
        changed.append("cleared up")
    return changed


def _check_deployed(site: Site, wanted: Deployed) -> None:
    """Raises Foreign."""
    there = site.deployed
    if there and (there.mesh, there.node) != (wanted.mesh, wanted.node):
        raise Foreign(
            f"{site.session.host}: {site.layout.folder} holds node {there.node} of mesh "
            f"{there.mesh}; `odyssai undeploy {there.node}` first, or choose another --folder"
        )


async def _check_reach(site: Site, python: str, target: Target) -> None:
    """Raises Unfit."""
    if why := await unreached(site, python, target.addresses):
        raise Unfit(why)


async def _run(site: Site, wanted: Deployed, target: Target, tell: Tell) -> list[str]:
    """That it runs, as the unit says, the release that is wanted."""
    keeper, run = site.keeper(wanted), site.run(wanted)
    before = await install.running_release(site.session, site.layout)
    is_running = bool(before) and await site.session.succeeds(keeper.is_running(run))
    unit = keeper.unit(run)
    is_told = await site.session.read(unit.path) == unit.text.encode()
    seen = await mesh.look_at(target.bus, wanted.node)
    if is_running and is_told and before == target.release.name and mesh.is_heard(seen):
        return []
    if not mesh.is_heard(seen):
        await _start(site, wanted, target, tell, target.release.name, seen)
        return ["started"]
    async with target.turn:
        await _renew(site, wanted, target, tell, before)
    return ["started anew"]


async def _renew(site: Site, wanted: Deployed, target: Target, tell: Tell, before: str) -> None:
    """Drained, started anew, and given requests again, if it took any."""
    node, bus = NodeId(wanted.node), target.bus
    seen = await mesh.look_at(bus, node)
    takes_requests = seen is not None and seen.state == "alive"
    try:
        await mesh.carry_out(bus, Drain(node=node), tell)
        try:
            await _start(site, wanted, target, tell, target.release.name, seen)
            await mesh.holds_again(bus, node, seen, tell)
        except BaseException:
            await _go_back(site, wanted, target, tell, before)
            raise
    finally:
        if takes_requests:
            await mesh.carry_out(bus, Undrain(node=node), tell)


async def _go_back(site: Site, wanted: Deployed, target: Target, tell: Tell, release: str) -> None:
    """To what it was, where that was something else."""
    before = site.deployed
    if not release or before is None or (release, before) == (target.release.name, wanted):
        return
    tell(f"going back to {release}")
    await site.session.write(site.layout.deployed, _json(before))
    seen = await mesh.look_at(target.bus, wanted.node)
    await _start(site, before, target, tell, release, seen)


async def _start(
    site: Site, deployed: Deployed, target: Target, tell: Tell, release: str, seen: NodeView | None
) -> None:
    keeper, run = site.keeper(deployed), site.run(deployed)
    tell("starting")
    # The one that runs is ended by what it was started by.
    if site.deployed and site.deployed.keeper != deployed.keeper:
        await _leave(site, site.deployed)
    unit = keeper.unit(run)
    folders = shlex.join([unit.path.rpartition("/")[0], site.layout.logs])
    await site.session.run(f"umask 077; mkdir -p {folders}")
    await install.switch(site.session, site.layout, release)
    await site.session.write(unit.path, unit.text)
    await site.session.run(keeper.start(run))
    tell("waiting for the bus to hear it")
    try:
        runs = partial(site.session.succeeds, keeper.is_running(run))
        await mesh.seen_anew(target.bus, deployed.node, seen, runs)
    except NotSeen as error:
        raise NotSeen(f"{error}; the end of its log:\n{await _log(site, run)}") from error


async def _leave(site: Site, deployed: Deployed) -> None:
    keeper, run = site.keeper(deployed), site.run(deployed)
    await site.session.run(f"{keeper.stop(run)}\n{keeper.forget(run)}")


async def _log(site: Site, run: Run) -> str:
    said = await site.session.run(f"tail -n {LOG_LINES} {shlex.quote(run.layout.log)} || true")
    return said.rstrip()


def _json(deployed: Deployed) -> str:
    return msgspec.json.format(msgspec.json.encode(deployed)).decode() + "\n"
