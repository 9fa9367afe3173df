"""Commands about engines that somebody else started."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_json, add_nats


def add(commands: Any) -> None:
    _add_enroll(
        commands.add_parser(
            "enroll", help="serve what an Ollama, LM Studio, vLLM, llama.cpp or other mesh has"
        )
    )
    leave = commands.add_parser("unenroll", help="serve an enrolled engine's models no longer")
    leave.set_defaults(module="ops.console.enrolment", act="unenroll")
    add_nats(leave)
    leave.add_argument("name", metavar="NAME")


def _add_enroll(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.console.enrolment", act="enroll")
    add_nats(parser)
    add_json(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("url", metavar="URL", nargs="?", help="where it is: http://host:port")
    what.add_argument("--list", action="store_true", help="those that are enrolled")
    what.add_argument(
        "--discover",
        action="store_const",
        dest="module",
        const="ops.joining.suggestions",
        help="those that say on the local network they are there",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="its models are NAME:id (default: after its make)"
    )
    parser.add_argument(
        "--requests", type=values.count, metavar="N",
        help="sent to it at once; more wait here (default: as many as it says, at most 256)",
    )  # fmt: skip
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key", action="store_true", help="it wants one: ask for it, or read standard input"
    )
    key.add_argument("--key-from-env", metavar="VARIABLE", help="take its key from this variable")
    parser.add_argument(
        "--wait", type=values.duration, default="2s", metavar="TIME",
        help="how long --discover listens (2s)",
    )  # fmt: skip
