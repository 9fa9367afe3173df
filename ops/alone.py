"""One service in this process: `odyssai gateway` and its like."""

import argparse
import asyncio
import os
import runpy
import sys
from pathlib import Path

from bus import embedded
from bus.embedded import Access
from bus.errors import BusError
from bus.home import HomeError
from bus.membership import Membership, known_membership
from ops.joining.local import own_url
from ops.up import node_name
from proto.errors import MeshError
from services.runner.models.names import NO_MODEL


def main(args: argparse.Namespace) -> int:
    """Does for one service what `odyssai up` does for all: settings by environment, then run."""
    try:
        os.environ |= settings(args)
    except (HomeError, BusError, MeshError) as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    if not os.environ.get("ODYSSAI_NATS"):
        print(
            "odyssai: no bus to join; give --nats URL, set ODYSSAI_NATS, "
            f"or run `odyssai up` on {args.home} first",
            file=sys.stderr,
        )
        return 1
    run_module(f"services.{args.service}", [])
    return 0


def run_module(name: str, argv: list[str]) -> None:
    """What `python -m` does, in this process."""
    sys.argv[1:] = argv
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def settings(args: argparse.Namespace) -> dict[str, str]:
    """What the flags say, for the service to read; the home's own bus unless told otherwise."""
    home = args.home.expanduser().absolute()
    access = None if args.nats else embedded.known_access(home)
    member = None if args.nats else known_membership(home)
    chosen = {
        "ODYSSAI_NATS": args.nats or (access and _own_url(args, access)),
        "ODYSSAI_HOME": str(home),
        "ODYSSAI_LOG": args.log_level,
        "ODYSSAI_HOST": getattr(args, "host", None),
        "ODYSSAI_PORT": getattr(args, "port", None),
        "ODYSSAI_TLS_CERT": getattr(args, "tls_cert", None),
        "ODYSSAI_TLS_KEY": getattr(args, "tls_key", None),
        "ODYSSAI_NODE": getattr(args, "node", None),
        "ODYSSAI_MODELS": ",".join(getattr(args, "model", None) or ()),
        "ODYSSAI_MEMORY": getattr(args, "memory", None),
        "ODYSSAI_ALIASES": ",".join(getattr(args, "alias", None) or ()),
        "ODYSSAI_TRUST_REMOTE_CODE": "1" if getattr(args, "trust_remote_code", False) else None,
    }
    if member:
        chosen |= _of_member(args, home, member)
    return {name: str(value) for name, value in chosen.items() if value}


def _own_url(args: argparse.Namespace, access: Access) -> str:
    """By a credential of its own: the home's services keep theirs. Raises BusError, MeshError."""
    match args.service:
        case "gateway":
            return asyncio.run(own_url(access, "gateway", f"port-{args.port}"))
        case "runner":
            return asyncio.run(own_url(access, "runner", args.node or node_name()))
        case service:
            return access.url(service)


def _of_member(args: argparse.Namespace, home: Path, member: Membership) -> dict[str, str]:
    """On the bus of the mesh that the home joined. Raises NodeOnly."""
    node = getattr(args, "node", None) or member.node
    member.check((args.service,), node)
    models = ",".join(getattr(args, "model", None) or ())
    chosen = {"ODYSSAI_NATS": member.url(home), "ODYSSAI_NODE": node}
    if member.role == "runner":
        chosen["ODYSSAI_MODELS"] = models or os.environ.get("ODYSSAI_MODELS") or NO_MODEL
    return chosen
