"""`odyssai upgrade`: nodes become what this source is, one after the other, each drained before."""

import argparse
from collections.abc import Callable

from bus.connection import Bus
from ops.console.operator import audit_log, operator
from ops.remote import records, site, together
from ops.remote.errors import NotDeployed
from ops.remote.progress import Standing, shown
from ops.remote.records import Deployment
from ops.remote.rollout import Target, converge
from ops.remote.target import of_home, run
from ops.remote.together import Work


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    home = args.home.expanduser().absolute()
    there = records.known(home)
    chosen = {node: records.find(home, node) for node in args.nodes} or there
    if not chosen:
        raise NotDeployed(f"no node was deployed from {home} yet; see `odyssai deploy`")
    with of_home(args, bus) as target, shown(args.json) as show:
        work = [
            (Standing(host=str(it.host), node=node), _of(node, it, target))
            for node, it in sorted(chosen.items())
        ]
        return await together.one_by_one(work, show)


def _of(node: str, deployment: Deployment, target: Target) -> Work:
    async def work(standing: Standing, changed: Callable[[], None]) -> str:
        def tell(text: str) -> None:
            standing.step = text
            changed()

        tell("connecting")
        async with site.at(deployment.host, deployment.folder) as found:
            standing.machine = found.machine.described
            if found.deployed is None or found.deployed.node != node:
                raise NotDeployed(
                    f"{deployment.host}: {deployment.folder} holds no node {node} any more; "
                    f"`odyssai deploy {node}={deployment.host}` makes it one"
                )
            async with audit_log(target.bus).act("node.upgrade", operator(), node):
                done = await converge(found, found.deployed, target, tell)
        if not done:
            return f"runs {target.release.name} already"
        return f"runs {target.release.name}: {', '.join(done)}"

    return work
