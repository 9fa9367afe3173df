"""`odyssai models`: what is where, stored and loaded."""

import argparse

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.words import size
from proto.overview import EngineView, ModelView


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    seen = await jobs.look_around(bus)
    if args.json:
        print(msgspec.json.encode(seen.models).decode())
    else:
        show(table(seen.models))
    return 0


def table(models: tuple[ModelView, ...]) -> Table:
    heads = (
        "MODEL", "STATE", "SIZE", "QUANT", "CONTEXT", "REPLICAS", "LOADED ON", "STORED ON", "PINNED"
    )  # fmt: skip
    return Table(
        heads=heads,
        rows=[_row(model) for model in models],
        nothing="No model is there; `odyssai pull ORG/NAME` fetches one.",
        notes=[_difference(model) for model in models if not model.is_same_everywhere],
    )


def _row(model: ModelView) -> tuple[str, ...]:
    ready = [engine for engine in model.engines if engine.phase == "ready" and not engine.rank]
    disk_bytes = max((stored.disk_bytes for stored in model.stored), default=0)
    return (
        model.model,
        model.state,
        size(disk_bytes) if disk_bytes else "",
        model.quantization,
        _context(model),
        str(len(ready)) if ready else "",
        ", ".join(sorted({_place(engine) for engine in model.engines})),
        ", ".join(stored.node for stored in model.stored),
        "yes" if any(engine.is_pinned for engine in model.engines) else "",
    )


def _place(engine: EngineView) -> str:
    """A group's nodes by rank."""
    if engine.group is None:
        return engine.node
    return f"{' + '.join(m.node for m in engine.group.members)} ({engine.group.split})"


def _context(model: ModelView) -> str:
    """Granted, and what the model was made for where that is more."""
    own = model.footprint.context_length if model.footprint else 0
    granted = [engine.grant.context for engine in model.engines if engine.grant]
    if not granted:
        return str(own or "")
    return f"{min(granted)} of {own}" if own > min(granted) else str(min(granted))


def _difference(model: ModelView) -> str:
    places = ", ".join(f"{s.node} ({(s.revision or s.fingerprint)[:8]})" for s in model.stored)
    return (
        f"Nodes hold different files of {model.model}: {places}. "
        f"`odyssai sync {model.model} --from NODE` makes them the same."
    )
