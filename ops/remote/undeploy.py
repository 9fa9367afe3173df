"""`odyssai undeploy`: a node leaves the mesh, and its machine is as if it had never been one."""

import argparse
import shlex
from collections.abc import Callable

from bus.connection import Bus
from ops.console.operator import audit_log, operator
from ops.remote import credential, install, mesh, records, site, together
from ops.remote.errors import Foreign
from ops.remote.mesh import Tell
from ops.remote.progress import Standing, shown
from ops.remote.records import Deployment
from ops.remote.site import Site
from ops.remote.target import run
from ops.remote.together import Work
from proto.ids import NodeId
from proto.jobs import Drain, RemoveNode


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    home = args.home.expanduser().absolute()
    chosen = {node: records.find(home, node) for node in args.nodes}
    with shown(args.json) as show:
        work = []
        for node, deployment in chosen.items():
            standing = Standing(host=str(deployment.host), node=node)
            work.append((standing, _of(node, deployment, args, bus)))
        return await together.all_at_once(work, show)


def _of(node: str, deployment: Deployment, args: argparse.Namespace, bus: Bus) -> Work:
    async def work(standing: Standing, changed: Callable[[], None]) -> str:
        def tell(text: str) -> None:
            standing.step = text
            changed()

        tell("connecting")
        async with (
            # First: what cannot be reached stays a node, and nothing is half gone.
            site.at(deployment.host, deployment.folder) as found,
            audit_log(bus).act("node.undeploy", operator(), node),
        ):
            _check(found, node)
            # What it alone serves is loaded elsewhere, and what runs comes to its end.
            await mesh.carry_out(bus, Drain(node=NodeId(node)), tell, unknown_is_fine=True)
            await _stop(found, tell)
            await mesh.carry_out(bus, RemoveNode(node=NodeId(node)), tell, unknown_is_fine=True)
            # Of a node that was let in and never heard the scheduler knows nothing.
            await credential.withdraw(bus, node)
            await _clear(found)
        records.forget(args.home.expanduser().absolute(), node)
        return "nothing of it is left there, and the mesh knows it no more."

    return work


def _check(found: Site, node: str) -> None:
    """Raises Foreign: what is not known to be ours is not deleted."""
    if found.machine.holds == "other" or (found.deployed and found.deployed.node != node):
        raise Foreign(
            f"{found.session.host}: {found.layout.folder} does not hold node {node}; nothing was "
            f"deleted. `odyssai remove {node}` sends it away from the mesh"
        )


async def _stop(found: Site, tell: Tell) -> None:
    if found.deployed is None:
        return
    tell("stopping")
    keeper, its_run = found.keeper(found.deployed), found.run(found.deployed)
    await found.session.run(f"{keeper.stop(its_run)}\n{keeper.forget(its_run)}")


async def _clear(found: Site) -> None:
    if found.deployed is not None:
        folder = shlex.quote(found.layout.folder)
        await found.session.run(f"rm -rf {folder}", within_s=install.REMOVE_S)
