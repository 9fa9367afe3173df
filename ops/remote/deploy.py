"""`odyssai deploy`: machines become nodes, over ssh, all at once."""

import argparse
from collections.abc import Callable

from bus.connection import Bus
from ops.console.operator import audit_log, operator
from ops.remote import site, together
from ops.remote.errors import Refused
from ops.remote.host import Host
from ops.remote.layout import Deployed
from ops.remote.progress import Standing, shown
from ops.remote.rollout import Target, converge
from ops.remote.site import Site
from ops.remote.target import of_home, run
from ops.remote.together import Work
from ops.up import node_name_of


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    typed = [Host.read(text) for text in args.hosts]
    names = Names()
    with of_home(args, bus) as target, shown(args.json) as show:
        work = [
            (Standing(host=str(host), node=node or ""), _of(host, node, args, target, names))
            for node, host in typed
        ]
        return await together.all_at_once(work, show)


class Names:
    """Of the nodes that one command makes: two machines may be called the same."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def take(self, node: str, host: str) -> str:
        """Raises Refused."""
        if node in self._taken:
            raise Refused(
                f"{self._taken[node]} is called {node} as well; name this one: NAME={host}"
            )
        self._taken[node] = host
        return node


def _of(
    host: Host, node: str | None, args: argparse.Namespace, target: Target, names: Names
) -> Work:
    async def work(standing: Standing, changed: Callable[[], None]) -> str:
        def tell(text: str) -> None:
            standing.step = text
            changed()

        tell("connecting")
        async with site.at(host, args.folder) as found:
            standing.machine = found.machine.described
            standing.node = names.take(node or _name_of(found), str(host))
            wanted = wanted_of(args, found, target.mesh, standing.node)
            async with audit_log(target.bus).act("node.deploy", operator(), standing.node):
                done = await converge(found, wanted, target, tell)
        warnings = [each.sentence for each in found.findings]
        return " ".join([told(done), *warnings])

    return work


def _name_of(found: Site) -> str:
    """As it is called already, or as the machine is."""
    return found.deployed.node if found.deployed else node_name_of(found.machine.hostname)


def wanted_of(args: argparse.Namespace, found: Site, mesh: str, node: str) -> Deployed:
    """What is to be there. What is not said stays as it was."""
    before = found.deployed or Deployed(mesh=mesh, node=node, keeper=found.machine.keeper)
    return Deployed(
        mesh=mesh,
        node=node,
        keeper=args.keeper or before.keeper,
        models=tuple(args.model) if args.model else before.models,
        memory=args.memory or before.memory,
    )


def told(changed: list[str]) -> str:
    return (
        f"{', '.join(changed)}; it serves." if changed else "Nothing to do: it is as it should be."
    )
