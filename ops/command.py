"""The odyssai command. Imports nothing that takes time until it knows what is wanted."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ops.arguments import (
    config,
    enrolment,
    jobs,
    joining,
    keys,
    models,
    nodes,
    providers,
    remote,
    services,
    state,
    tools,
)

GROUPS = (
    services, joining, remote, nodes, models, enrolment, jobs, config, providers, keys,
    state, tools,
)  # fmt: skip
"""In the order in which `odyssai --help` shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["engine"]:
        return _engine(given[1:])
    if given[:1] == ["bench"] and given[1:2] not in ([], ["-h"], ["--help"]):
        return _bench(given[1], given[2:])
    given, passed_on = _split(given)
    args = parser().parse_args(given)
    args.passed_on = passed_on
    try:
        return int(importlib.import_module(args.module).main(args) or 0)
    except KeyboardInterrupt:
        return 130


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """What is for us, and what stands behind -- for the tool that is launched."""
    if given[:1] != ["launch"] or "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


class _Version(argparse.Action):
    """Looks it up when asked only: that takes longer than all else here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        metadata = importlib.import_module("importlib.metadata")
        parser.exit(message=f"odyssai {metadata.version('odyssai-mesh')}\n")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="odyssai", description="Serve language models from a mesh of machines."
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser


def _engine(argv: list[str]) -> int:
    """Started by runners, not by people; its flags are its own."""
    importlib.import_module("ops.alone").run_module("services.runner.engine", argv)
    return 0


def _bench(name: str, argv: list[str]) -> int:
    if name not in tools.benches():
        print(
            f"odyssai: no benchmark {name}; there are {', '.join(tools.benches())}",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(f"ops.bench.{name.replace('-', '_')}")
    return int(module.main(argv) or 0)


if __name__ == "__main__":
    sys.exit(main())
