"""What was typed, as an order."""

import argparse
from collections.abc import Callable

from proto.ids import ModelId, NodeId
from proto.jobs import (
    Convert,
    Drain,
    Load,
    Order,
    Pin,
    Pull,
    Remove,
    RemoveNode,
    Restart,
    Sync,
    Undrain,
    Unload,
)


def load(args: argparse.Namespace) -> Load:
    return Load(
        model=args.model,
        nodes=tuple(args.nodes) or _nodes(args.node),
        way=args.split,
        ranks=args.ranks or (len(args.nodes) if len(args.nodes) > 1 else None),
        cluster=args.cluster,
        replicas=args.replicas,
        context=args.context,
        batch=args.batch,
        slots=args.slots,
        draft=args.draft,
        is_pinned=args.pin,
        idle_ttl_s=args.ttl,
        fetches=not args.no_fetch,
        makes_room=not args.no_room,
        lifts_quarantine=args.lift_quarantine,
    )


def unload(args: argparse.Namespace) -> Unload:
    return Unload(model=args.model, nodes=_nodes(args.node), is_forced=args.force)


def pull(args: argparse.Namespace) -> Pull:
    """``ORG/NAME@REVISION``, or without a revision."""
    model, _, revision = args.model.partition("@")
    return Pull(model=ModelId(model), revision=revision or None, nodes=_nodes(args.node))


def sync(args: argparse.Namespace) -> Sync:
    return Sync(model=args.model, source=args.source, nodes=_nodes(args.to))


def convert(args: argparse.Namespace) -> Convert:
    return Convert(
        model=args.model,
        name=args.name,
        bits=args.bits,
        group_size=args.group_size,
        dtype=args.dtype,
        node=args.node,
    )


def remove(args: argparse.Namespace) -> Remove:
    return Remove(model=args.model, nodes=_nodes(args.node))


ORDERS: dict[str, Callable[[argparse.Namespace], Order]] = {
    "load": load,
    "unload": unload,
    "pin": lambda args: Pin(model=args.model),
    "unpin": lambda args: Pin(model=args.model, is_pinned=False),
    "pull": pull,
    "sync": sync,
    "convert": convert,
    "rm": remove,
    "drain": lambda args: Drain(node=args.node),
    "undrain": lambda args: Undrain(node=args.node),
    "restart": lambda args: Restart(node=args.node, engines=args.engines),
    "remove": lambda args: RemoveNode(node=args.node),
}
"""By the name of the command."""


def _nodes(named: list[str] | None) -> tuple[NodeId, ...]:
    return tuple(map(NodeId, named or ()))
