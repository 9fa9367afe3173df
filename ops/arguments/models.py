"""Commands about models: what is where, and having it otherwise."""

import argparse
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_json, add_nats


def add(commands: Any) -> None:
    shown = commands.add_parser("models", help="list the models that are stored or loaded")
    shown.set_defaults(module="ops.console.models")
    add_nats(shown)
    add_json(shown)
    _add_plan(commands)
    _add_load(_ordering(commands, "load", "have a model served"))
    _add_unload(_ordering(commands, "unload", "serve a model no longer"))
    _add_model(_ordering(commands, "pin", "keep a loaded model whatever else is asked for"))
    _add_model(_ordering(commands, "unpin", "let a model make room for others again"))
    _add_pull(_ordering(commands, "pull", "fetch a model from the Hugging Face hub"))
    _add_sync(_ordering(commands, "sync", "copy a model between nodes"))
    _add_convert(_ordering(commands, "convert", "write a model anew in another form"))
    _add_rm(_ordering(commands, "rm", "delete a model's files"))


def _ordering(commands: Any, name: str, purpose: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=purpose)
    return ordering(parser, name)


def ordering(parser: argparse.ArgumentParser, order: str) -> argparse.ArgumentParser:
    """A command that comes to a job."""
    parser.set_defaults(module="ops.console.ordering", order=order)
    add_nats(parser)
    add_json(parser)
    parser.add_argument("--detach", action="store_true", help="print the job and do not follow it")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="its id, or another name it goes by")


def _add_nodes(parser: argparse.ArgumentParser, flag: str, meaning: str) -> None:
    parser.add_argument(
        flag, action="append", metavar="NODE", help=f"{meaning}; more than once for more"
    )


def _add_load(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_nodes(parser, "--node", "where, alone (default: where it fits best)")
    _add_sharing(parser)
    parser.add_argument(
        "--replicas", type=values.count, default=1, metavar="N", help="on so many nodes in all"
    )
    _add_sizes(parser)
    parser.add_argument("--slots", type=values.count, metavar="N", help="requests side by side")
    parser.add_argument(
        "--draft",
        metavar="MODEL",
        help="a smaller model of the same vocabulary that guesses for it (default: as configured; "
        "none: none)",
    )
    parser.add_argument("--pin", action="store_true", help="it never makes room for another")
    parser.add_argument(
        "--ttl", type=values.duration, metavar="TIME", help="unload it when unused so long: 30m, 2h"
    )
    parser.add_argument("--no-fetch", action="store_true", help="fail where no node has its files")
    parser.add_argument("--no-room", action="store_true", help="unload no other model for it")
    parser.add_argument(
        "--lift-quarantine", action="store_true", help="also where it ended its engine repeatedly"
    )


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser(
        "plan", help="how a model could be served: by one node, or by several together"
    )
    parser.set_defaults(module="ops.console.plan")
    add_nats(parser)
    add_json(parser)
    _add_model(parser)
    _add_sharing(parser)
    _add_sizes(parser)


def _add_sharing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", choices=("auto", "solo", "tensor", "pipeline"), default="auto",
        help="by one node, or parts of every layer, or some of the layers to each "
        "(default: one node if it fits, else whatever is fastest)",
    )  # fmt: skip
    parser.add_argument(
        "--ranks", type=values.count, metavar="N", help="so many nodes together (default: fewest)"
    )
    parser.add_argument(
        "--nodes", type=values.names, default=[], metavar="A,B",
        help="these nodes together, the first one leading",
    )  # fmt: skip
    parser.add_argument(
        "--cluster", default="", metavar="NAME", help="nodes of a cluster of odyssai.yaml"
    )


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", type=values.count, metavar="N", help="tokens of one request (default: most)"
    )
    parser.add_argument(
        "--batch", type=values.count, metavar="N", help="requests of full length side by side"
    )


def _add_unload(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_nodes(parser, "--node", "where (default: everywhere)")
    parser.add_argument("--force", action="store_true", help="do not wait for what runs")


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="ORG/NAME[@REVISION]", help="HF_TOKEN of the environment opens gated ones"
    )
    _add_nodes(parser, "--node", "where to (default: the one with the most room)")


def _add_sync(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "--from", dest="source", metavar="NODE", help="(default: any node that has it)"
    )
    _add_nodes(parser, "--to", "(default: every other node)")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--name", help="of the new model (default: the old one with its form)")
    parser.add_argument(
        "--bits", type=int, choices=range(2, 9), metavar="N", help="quantise to 2 to 8 bits"
    )
    parser.add_argument("--group-size", type=int, choices=(32, 64, 128), default=64)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--node", metavar="NODE", help="where (default: a node that has it)")


def _add_rm(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_nodes(parser, "--node", "from where (default: everywhere)")
