"""Commands by which machines become part of a mesh."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_home, add_log_level, add_nats
from ops.arguments.services import add_runner


def add(commands: Any) -> None:
    _add_invite(commands.add_parser("invite", help="print a token by which a machine may join"))
    _add_join(commands.add_parser("join", help="make this machine a node of a mesh"))
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


def _add_join(parser: argparse.ArgumentParser) -> None:
    # The rest is that of `odyssai up --only runner`.
    parser.set_defaults(
        module="ops.join", only="runner", nats=None, bus_host="", host="", port=0,
        tls_cert=None, tls_key=None,
    )  # fmt: skip
    parser.add_argument(
        "token", nargs="?", metavar="TOKEN", help="what `odyssai invite` printed; the first time"
    )
    add_home(parser)
    add_log_level(parser)
    add_runner(parser)
    parser.add_argument("--verbose", action="store_true", help="print what the agent prints")
