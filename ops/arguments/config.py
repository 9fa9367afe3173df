"""Commands about the configuration."""

import argparse
from pathlib import Path
from typing import Any

from ops.arguments.reach import add_json, add_nats


def add(commands: Any) -> None:
    parser = commands.add_parser("config", help="what is configured: see it, check it, change it")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    shown = _act(acts, "show", "print what is in effect")
    add_json(shown)
    check = acts.add_parser("check", help="whether a file makes sense; nothing is changed")
    check.set_defaults(module="ops.console.config", act="check")
    check.add_argument("file", type=Path, metavar="FILE")
    change = _act(acts, "set", "change a setting; it wins over the file")
    change.add_argument("setting", metavar="SETTING", help="such as models/org/name/context")
    change.add_argument("value", metavar="VALUE", help="as in the file; null: whatever it says")
    forget = _act(acts, "unset", "forget what was set; the file's word counts again")
    forget.add_argument("setting", metavar="SETTING")
    _add_import(commands)


def _add_import(commands: Any) -> None:
    parser = commands.add_parser(
        "import-topology", help="take over the clusters of an OdyssAI topology.yaml"
    )
    parser.set_defaults(module="ops.console.topology")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="the odyssai.yaml to add them to (default: print them)",
    )  # fmt: skip


def _act(acts: Any, act: str, purpose: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(act, help=purpose)
    parser.set_defaults(module="ops.console.config", act=act)
    add_nats(parser)
    return parser
