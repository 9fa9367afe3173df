"""Where the mesh is: its home and its bus."""

import argparse
import os
from pathlib import Path


def add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("ODYSSAI_HOME") or "~/.odyssai"),
        help="state, credentials and logs (default: %(default)s)",
    )


def add_nats(parser: argparse.ArgumentParser) -> None:
    """For who talks to a mesh and is no part of it."""
    add_home(parser)
    parser.add_argument("--nats", metavar="URL", help="the bus (default: that of --home)")


def add_bus(parser: argparse.ArgumentParser) -> None:
    """For services."""
    add_home(parser)
    parser.add_argument(
        "--nats",
        metavar="URL",
        default=os.environ.get("ODYSSAI_NATS") or None,
        help="the bus to join (also: ODYSSAI_NATS, which `ps` does not show; "
        "default: the one of --home)",
    )
    add_log_level(parser)


def add_log_level(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=os.environ.get("ODYSSAI_LOG", "info"),
        help="how much goes to the logs (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
