"""`odyssai enroll` and `odyssai unenroll`: engines that already run become part of the mesh."""

import argparse
import sys

import msgspec

from bus.connection import Bus
from bus.enrolment import Enrolled, enrol, recognise
from bus.providers import list_providers, remove_provider
from ops.console.operator import audit_log, operator
from ops.console.secret import handed_over
from ops.console.tables import Table, show
from ops.console.terminal import complain, run
from proto.config import ProviderKind
from proto.errors import Code, MeshError
from proto.provider import ProviderView

VENDORS: tuple[ProviderKind, ...] = ("openai", "anthropic", "openrouter")
MOST_SHOWN = 8
"""Models named on one line."""


def main(args: argparse.Namespace) -> int:
    if args.act == "unenroll":
        return run(_unenroll, args)
    return run(_list if args.list else _enroll, args)


async def _enroll(args: argparse.Namespace, bus: Bus) -> int:
    key, by = _key(args), operator()
    engine = await recognise(bus, args.url, key)
    async with audit_log(bus).act("engine.enroll", by, args.name or "", engine.url):
        enrolled = await enrol(bus, engine, args.name, args.requests, key, by.name)
    if args.json:
        print(msgspec.json.encode(enrolled).decode())
    else:
        print(told(enrolled))
    return 0


def told(enrolled: Enrolled) -> str:
    engine, name = enrolled.engine, enrolled.name
    make = f"{engine.title} {engine.version}".strip()
    how = "is enrolled" if enrolled.is_new else "was enrolled already"
    ids = [f"{name}:{card.id}" for card in engine.models]
    more = f" and {len(ids) - MOST_SHOWN} more" if len(ids) > MOST_SHOWN else ""
    models = ", ".join(ids[:MOST_SHOWN]) + more if ids else "none at this moment"
    return f"{make} at {engine.url} {how} as {name}. Its models: {models}"


def _key(args: argparse.Namespace) -> str | None:
    """Raises MeshError."""
    return handed_over(args.url, args.key_from_env) if args.key or args.key_from_env else None


async def _list(args: argparse.Namespace, bus: Bus) -> int:
    engines = [v for v in await list_providers(bus) if v.settings.kind not in VENDORS]
    if args.json:
        print(msgspec.json.encode(engines).decode())
        return 0
    show(table(engines))
    for view in engines:
        if view.trouble:
            complain(f"{view.name}: {view.trouble}")
    return 0


def table(engines: list[ProviderView]) -> Table:
    return Table(
        heads=("NAME", "MAKE", "STATE", "MODELS", "RUNNING", "URL"),
        rows=[
            (
                view.name,
                view.settings.kind or "openai-compatible",
                "gone" if view.trouble and not view.models else view.state,
                str(view.models),
                str(view.running),
                view.url,
            )
            for view in engines
        ],
        nothing="No engine is enrolled; `odyssai enroll http://host:port` enrols one.",
    )


async def _unenroll(args: argparse.Namespace, bus: Bus) -> int:
    by = operator()
    try:
        async with audit_log(bus).act("engine.unenroll", by, args.name):
            await remove_provider(bus, args.name, by.name)
    except MeshError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        print(f"{args.name} is not enrolled", file=sys.stderr)
        return 0
    print(f"{args.name} is no longer enrolled; what runs there finishes", file=sys.stderr)
    return 0
