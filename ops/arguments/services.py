"""`odyssai up`, and each of the services alone."""

import argparse
import os
from typing import Any

from ops.arguments import values
from ops.arguments.reach import add_bus, add_home

DEFAULT_PORT = 8000
"""Where clients of such servers look first."""

SERVICES = {
    "gateway": "answer OpenAI and Anthropic clients over HTTP",
    "scheduler": "choose the engine of every request",
    "runner": "hold models on this machine and run them",
    "cloud": "serve models through other providers",
    "health": "watch who is alive",
}


def add(commands: Any) -> None:
    _add_up(commands.add_parser("up", help="run everything on this machine"))
    _add_renew(
        commands.add_parser(
            "renew", help="restart this machine's services, one after the other, losing no request"
        )
    )
    for service, purpose in SERVICES.items():
        _add_service(commands.add_parser(service, help=purpose), service)


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.up")
    add_bus(parser)
    add_gateway(parser)
    add_runner(parser)
    parser.add_argument(
        "--only", metavar="A,B", default=",".join(SERVICES), help="run these services only"
    )
    parser.add_argument(
        "--bus-host",
        default="127.0.0.1",
        metavar="HOST",
        help="where the bus that is brought along listens (default: %(default)s); "
        "a second machine needs one it can reach, such as 0.0.0.0",
    )
    parser.add_argument(
        "--no-mdns",
        action="store_true",
        help="do not tell the local network of a bus that listens beyond loopback "
        "(also: ODYSSAI_MDNS=0)",
    )
    parser.add_argument("--verbose", action="store_true", help="print what every service prints")


def _add_renew(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="ops.renew")
    add_home(parser)
    parser.add_argument(
        "services",
        nargs="*",
        metavar="SERVICE",
        help=f"which (default: all that run): {', '.join(SERVICES)}",
    )


def _add_service(parser: argparse.ArgumentParser, service: str) -> None:
    parser.set_defaults(module="ops.alone", service=service)
    add_bus(parser)
    if service == "gateway":
        add_gateway(parser)
    if service == "runner":
        add_runner(parser)


def add_gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default=os.environ.get("ODYSSAI_HOST", "127.0.0.1"),
        help="where the gateway listens (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=values.port,
        default=os.environ.get("ODYSSAI_PORT", str(DEFAULT_PORT)),
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        default=os.environ.get("ODYSSAI_TLS_CERT") or None,
        help="speak HTTPS, with this certificate chain (PEM); renewed files are taken up while it "
        "runs (also: ODYSSAI_TLS_CERT)",
    )
    parser.add_argument(
        "--tls-key",
        metavar="FILE",
        default=os.environ.get("ODYSSAI_TLS_KEY") or None,
        help="the private key that goes with it (also: ODYSSAI_TLS_KEY)",
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="smollm2 (the default), a folder or a Hugging Face id; more than once for more; "
        "none for what was loaded before and nothing else (also: ODYSSAI_MODELS, with commas)",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="what models may take of this machine's memory, such as 24GB or 75%% "
        "(default: what the system lets them; also: ODYSSAI_MEMORY)",
    )
    parser.add_argument(
        "--alias",
        action="append",
        type=values.alias,
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
