"""The odyssai command. Imports nothing that takes time until it knows what is wanted."""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

DEFAULT_PORT = 8000
"""Where clients of such servers look first."""

CODING_TOOLS = ("claude", "codex", "opencode")

_SERVICES = {
    "gateway": "answer OpenAI and Anthropic clients over HTTP",
    "scheduler": "choose the engine of every request",
    "runner": "hold models on this machine and run them",
    "cloud": "serve models through other providers",
    "health": "watch who is alive",
}


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["engine"]:
        return _engine(given[1:])
    if given[:1] == ["bench"] and given[1:2] not in ([], ["-h"], ["--help"]):
        return _bench(given[1], given[2:])
    given, passed_on = _split(given)
    args = _parser().parse_args(given)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="odyssai", description="Serve language models from a mesh of machines."
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(commands.add_parser("up", help="run everything on this machine"))
    for service, purpose in _SERVICES.items():
        _add_service(commands.add_parser(service, help=purpose), service)
    _add_watch(commands.add_parser("watch", help="print what happens, live"))
    _add_launch(commands.add_parser("launch", help="start a coding tool that uses the mesh"))
    bench = commands.add_parser("bench", help="measure", epilog="Names: " + ", ".join(_benches()))
    bench.add_argument("name", metavar="NAME", help="what to measure; `odyssai bench NAME --help`")
    return parser


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.up")
    _add_bus(parser)
    _add_gateway(parser)
    _add_runner(parser)
    parser.add_argument(
        "--only", metavar="A,B", default=",".join(_SERVICES), help="run these services only"
    )
    parser.add_argument(
        "--bus-host",
        default="127.0.0.1",
        metavar="HOST",
        help="where the bus that is brought along listens (default: %(default)s); "
        "a second machine needs one it can reach",
    )
    parser.add_argument("--verbose", action="store_true", help="print what every service prints")


def _add_service(parser: argparse.ArgumentParser, service: str) -> None:
    parser.set_defaults(module="ops.alone", service=service)
    _add_bus(parser)
    if service == "gateway":
        _add_gateway(parser)
    if service == "runner":
        _add_runner(parser)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.watch")
    _add_home(parser)
    parser.add_argument("--nats", metavar="URL", help="the bus (default: that of --home)")
    parser.add_argument("--json", action="store_true", help="every message as it is, one a line")


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.launch")
    parser.usage = "odyssai launch [options] TOOL [-- ARGUMENTS OF THE TOOL]"
    parser.add_argument("tool", choices=CODING_TOOLS, metavar="TOOL", help=", ".join(CODING_TOOLS))
    parser.add_argument("--model", help="which one (default: the first that calls tools)")
    parser.add_argument("--url", help="the mesh's address (default: that of the bus)")
    parser.add_argument("--nats", metavar="URL", help="the bus (default: that of --home)")
    _add_home(parser)
    parser.add_argument(
        "--print", action="store_true", help="print the lines for a shell, and start nothing"
    )


def _add_bus(parser: argparse.ArgumentParser) -> None:
    _add_home(parser)
    parser.add_argument(
        "--nats",
        metavar="URL",
        default=os.environ.get("ODYSSAI_NATS") or None,
        help="the bus to join, with user and password (also: ODYSSAI_NATS, which `ps` does not "
        "show; default: the one of --home)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=os.environ.get("ODYSSAI_LOG", "info"),
        help="how much goes to the logs (default: %(default)s)",
    )


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("ODYSSAI_HOME") or "~/.odyssai"),
        help="state, credentials and logs (default: %(default)s)",
    )


def _add_gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default=os.environ.get("ODYSSAI_HOST", "127.0.0.1"),
        help="where the gateway listens (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("ODYSSAI_PORT", str(DEFAULT_PORT)),
        help="(default: %(default)s)",
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def _add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="smollm2 (the default), a folder or a Hugging Face id; more than once for more "
        "(also: ODYSSAI_MODELS, with commas)",
    )
    parser.add_argument(
        "--alias",
        action="append",
        type=_alias,
        metavar="NAME=MODEL",
        help="another name for a model of this machine; more than once for more "
        "(also: ODYSSAI_ALIASES, with commas)",
    )
    parser.add_argument(
        "--node", default=os.environ.get("ODYSSAI_NODE"), help="this machine (default: its name)"
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code that a model's folder may bring "
        "(also: ODYSSAI_TRUST_REMOTE_CODE=1)",
    )


def _alias(text: str) -> str:
    name, _, model = text.partition("=")
    if not name.strip() or not model.strip() or "," in text:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=MODEL")
    return text


def _engine(argv: list[str]) -> int:
    """Started by runners, not by people; its flags are its own."""
    importlib.import_module("ops.alone").run_module("services.runner.engine", argv)
    return 0


def _benches() -> list[str]:
    found = pkgutil.iter_modules([str(Path(__file__).parent / "bench")])
    return [module.name.replace("_", "-") for module in found if not module.name.startswith("_")]


def _bench(name: str, argv: list[str]) -> int:
    if name not in _benches():
        print(f"odyssai: no benchmark {name}; there are {', '.join(_benches())}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"ops.bench.{name.replace('-', '_')}")
    return int(module.main(argv) or 0)


if __name__ == "__main__":
    sys.exit(main())
