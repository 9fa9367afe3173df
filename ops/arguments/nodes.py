"""Commands about machines."""

import argparse
from typing import Any

from ops.arguments.models import ordering
from ops.arguments.reach import add_json, add_nats


def add(commands: Any) -> None:
    shown = commands.add_parser("nodes", help="list the machines and what they hold")
    shown.set_defaults(module="ops.console.nodes")
    add_nats(shown)
    add_json(shown)
    doctor = commands.add_parser("doctor", help="look at every node and link: what is wrong?")
    doctor.set_defaults(module="ops.doctor.report")
    add_nats(doctor)
    add_json(doctor)
    doctor.add_argument(
        "--quick", action="store_true", help="do not have nodes connect to one another"
    )
    _add_node(commands.add_parser("drain", help="give a node nothing new"), "drain")
    _add_node(commands.add_parser("undrain", help="let a node take requests again"), "undrain")
    restart = commands.add_parser("restart", help="start a node's agent anew")
    _add_node(restart, "restart")
    restart.add_argument(
        "--engines", action="store_true", help="its engines, too, one after the other"
    )
    _add_node(commands.add_parser("remove", help="unload and forget a node"), "remove")


def _add_node(parser: argparse.ArgumentParser, order: str) -> None:
    ordering(parser, order).add_argument("node", metavar="NODE")
