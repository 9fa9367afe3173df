"""Commands that reach machines by ssh."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_home, add_json

KEEPERS = ("launchd", "systemd", "process")


def add(commands: Any) -> None:
    _add_deploy(commands.add_parser("deploy", help="make machines nodes of this mesh, over ssh"))
    upgrade = commands.add_parser(
        "upgrade", help="bring deployed nodes to this version, one after the other"
    )
    upgrade.set_defaults(module="ops.remote.upgrade")
    upgrade.add_argument("nodes", nargs="*", metavar="NODE", help="which (default: all)")
    undeploy = commands.add_parser("undeploy", help="take nodes away, and leave nothing there")
    undeploy.set_defaults(module="ops.remote.undeploy")
    undeploy.add_argument("nodes", nargs="+", metavar="NODE")
    for parser in (upgrade, undeploy):
        add_home(parser)
        add_json(parser)
    _add_logs(commands.add_parser("logs", help="show what a deployed node's processes say"))
    _add_reboot(commands.add_parser("reboot", help="restart a deployed node's machine"))


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.remote.deploy")
    add_home(parser)
    add_json(parser)
    parser.add_argument(
        "hosts",
        nargs="+",
        metavar="[NODE=][USER@]HOST[:PORT]",
        help="a name or an address, or a Host of ~/.ssh/config; NODE is the machine's name where "
        "it is left out",
    )
    parser.add_argument(
        "--folder",
        default=".odyssai-node",
        metavar="DIR",
        help="where it is installed there, in the user's home (default: %(default)s)",
    )
    parser.add_argument(
        "--keeper",
        choices=KEEPERS,
        help="who keeps it running there (default: launchd or systemd, where there is one); "
        "process: nobody does",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="what it serves by itself; more than once for more (default: what is loaded there)",
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="what models may take there, such as 24GB or 75%%"
    )


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.remote.logs")
    add_home(parser)
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("-f", "--follow", action="store_true", help="and what they say from now on")
    parser.add_argument(
        "-n",
        "--lines",
        type=values.count,
        default=50,
        metavar="N",
        help="of each (default: %(default)s)",
    )


def _add_reboot(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.remote.reboot")
    add_home(parser)
    parser.add_argument("node", metavar="NODE")
    parser.add_argument(
        "--force", action="store_true", help="also while it serves requests, which end"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--detach", action="store_true", help="do not wait until it is back")
