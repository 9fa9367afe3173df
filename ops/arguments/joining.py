"""Commands by which machines become part of a mesh."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_home, add_json, add_log_level, add_nats
from ops.arguments.services import add_gateway, add_runner

ROLES = ("runner", "gateway", "scheduler", "cloud", "health", "ops")
"""Those that another machine can have."""


def add(commands: Any) -> None:
    _add_invite(commands.add_parser("invite", help="print a token by which a machine may join"))
    _add_join(commands.add_parser("join", help="make this machine part of a mesh"))
    _add_credentials(
        commands.add_parser("credentials", help="list, rotate and revoke who may be on the bus")
    )
    _add_bus(commands.add_parser("bus", help="set up and keep a bus of several servers"))
    discover = commands.add_parser("discover", help="list the meshes on the local network")
    discover.set_defaults(module="ops.joining.discover")
    discover.add_argument(
        "--wait", type=values.duration, default=2.0, metavar="TIME", help="(default: 2s)"
    )


def _add_invite(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.joining.invite")
    add_nats(parser)
    parser.add_argument(
        "--expires",
        type=values.duration,
        default="24h",
        metavar="TIME",
        help="how long it is good: 30m, 24h, 7d (default: %(default)s)",
    )
    parser.add_argument(
        "--node", dest="for_node", metavar="NAME", help="good for a node of this name only"
    )
    parser.add_argument(
        "--role",
        choices=ROLES,
        default="runner",
        help="what the machine will run: a gateway, a scheduler … or ops, which hears telemetry "
        "(default: %(default)s)",
    )


def _add_credentials(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.joining.credentials", act="list", whose=None)
    add_nats(parser)
    add_json(parser)
    acts = parser.add_subparsers(dest="act", metavar="ACT")
    rotate = acts.add_parser("rotate", help="a new key, without ending anything")
    rotate.add_argument(
        "whose",
        nargs="?",
        metavar="ROLE|NODE",
        help="of a home: whose key, or `certificate` for the server's; of a machine that joined: "
        "nothing, its own",
    )
    revoke = acts.add_parser("revoke", help="cut off at once, for good")
    revoke.add_argument("whose", metavar="ROLE|NODE")
    for act in (rotate, revoke):
        add_nats(act)


def _add_bus(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.joining.servers")
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    init = acts.add_parser("init", help="write settings, certificates and credentials into --home")
    init.add_argument(
        "--server",
        action="append",
        required=True,
        metavar="HOST[:PORT[:ROUTE PORT]]",
        help="one of them, as all others reach it; three bear the loss of one",
    )
    init.add_argument(
        "--name", default="", metavar="NAME", help="of the mesh (default: one that nobody else has)"
    )
    keep = acts.add_parser(
        "keep", help="let machines in, and tell the servers of credentials that come and go"
    )
    for act in (init, keep):
        add_home(act)
    add_log_level(keep)


def _add_join(parser: argparse.ArgumentParser) -> None:
    # The rest is that of `odyssai up --only runner`.
    parser.set_defaults(module="ops.join", only="runner", nats=None, bus_host="")
    parser.add_argument(
        "token",
        nargs="?",
        metavar="TOKEN",
        help="what `odyssai invite` printed, or - to read that from standard input; the first time",
    )
    parser.add_argument(
        "--only-enter",
        action="store_true",
        help="become a member and run nothing: `odyssai join` without a token does that later",
    )
    add_home(parser)
    add_log_level(parser)
    add_gateway(parser)
    add_runner(parser)
    parser.add_argument("--verbose", action="store_true", help="print what it prints")
