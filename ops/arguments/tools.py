"""What looks at a mesh, uses it or measures: `watch`, `launch`, `bench`."""

import argparse
import pkgutil
from pathlib import Path
from typing import Any

from ops.arguments.reach import add_home, add_nats

CODING_TOOLS = ("claude", "codex", "opencode")
_BENCHES = Path(__file__).parents[1] / "bench"


def add(commands: Any) -> None:
    _add_watch(commands.add_parser("watch", help="print what happens, live"))
    _add_launch(commands.add_parser("launch", help="start a coding tool that uses the mesh"))
    bench = commands.add_parser("bench", help="measure", epilog="Names: " + ", ".join(benches()))
    bench.add_argument("name", metavar="NAME", help="what to measure; `odyssai bench NAME --help`")


def benches() -> list[str]:
    found = pkgutil.iter_modules([str(_BENCHES)])
    return [module.name.replace("_", "-") for module in found if not module.name.startswith("_")]


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.watch")
    add_nats(parser)
    parser.add_argument("--json", action="store_true", help="every message as it is, one a line")


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.launch")
    parser.usage = "odyssai launch [options] TOOL [-- ARGUMENTS OF THE TOOL]"
    parser.add_argument("tool", choices=CODING_TOOLS, metavar="TOOL", help=", ".join(CODING_TOOLS))
    parser.add_argument("--model", help="which one (default: the first that calls tools)")
    parser.add_argument("--url", help="the mesh's address (default: that of the bus)")
    parser.add_argument("--nats", metavar="URL", help="the bus (default: that of --home)")
    add_home(parser)
    parser.add_argument(
        "--print", action="store_true", help="print the lines for a shell, and start nothing"
    )
