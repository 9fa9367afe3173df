"""`odyssai plan`: how a model could be served, what each node would hold, how fast it would be."""

import argparse
import os
from collections.abc import Iterator

import msgspec

from bus import jobs
from bus.connection import Bus
from ops.console.tables import Table, show
from ops.console.terminal import run
from ops.words import brief, rate, size
from proto.choice import Choice, Hop, Share, Weigh, Weighed

MOST_SHOWN = 12


def main(args: argparse.Namespace) -> int:
    return run(_main, args)


async def _main(args: argparse.Namespace, bus: Bus) -> int:
    """1 when it cannot be served in any way."""
    asked = Weigh(
        model=args.model,
        way=args.split,
        ranks=args.ranks,
        nodes=tuple(args.nodes),
        cluster=args.cluster,
        context=args.context,
        batch=args.batch,
    )
    found = await jobs.weigh(bus, asked)
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        show(table(found))
    can_be = any(not choice.why_not for choice in found.choices)
    return os.EX_OK if can_be else 1


def table(found: Weighed) -> Table:
    shown = found.choices[:MOST_SHOWN]
    left = len(found.choices) - len(shown)
    return Table(
        heads=("HOW", "NODES", "LINK", "CONTEXT", "AT MOST", "VERDICT"),
        rows=[_row(choice, is_first=at == 0) for at, choice in enumerate(shown)],
        nothing="No node could take it: name others, or start more agents.",
        notes=list(_notes(found, left)),
    )


def _notes(found: Weighed, left: int) -> Iterator[str]:
    if left:
        yield f"{left} more ways are shown by --json."
    if found.draft:
        yield (
            f"One node alone has {found.draft} guess ahead, whose memory is counted; several nodes "
            "together have no draft."
        )


def _row(choice: Choice, *, is_first: bool) -> tuple[str, ...]:
    grant = choice.shares[0].grant
    batch = grant.kv_tokens // max(1, grant.context)
    return (
        _how(choice),
        "; ".join(_share(share) for share in choice.shares),
        _link(choice.hop) if choice.hop else "",
        f"{batch} × {grant.context}" if grant.context and not choice.why_not else "",
        _limit(choice) if choice.speed else "",
        choice.why_not or _verdict(choice, is_first=is_first),
    )


def _how(choice: Choice) -> str:
    if choice.way == "solo":
        return "solo"
    link = f"{choice.backend} of {choice.cluster}" if choice.cluster else str(choice.backend)
    return f"{choice.way} × {len(choice.shares)} ({link})"


def _share(share: Share) -> str:
    if not share.grant.total_bytes:
        return share.node
    layers = f" ({share.layers} layers)" if share.layers else ""
    return f"{share.node} {size(share.grant.total_bytes)} of {size(share.free_bytes)}{layers}"


def _link(hop: Hop) -> str:
    """A message from node to node, and how many tokens it alone would let through."""
    said = filter(None, (brief(hop.latency_s), rate(hop.bytes_per_s)))
    how = "measured" if hop.is_measured else "assumed"
    return f"{', '.join(said)} {how}: {hop.tokens_per_s:.3g} tokens/s"


def _limit(choice: Choice) -> str:
    """Against one node that could hold it, where nobody knows how fast these are."""
    if choice.tokens_per_s:
        return f"{choice.tokens_per_s:.3g} tokens/s"
    return f"{choice.speed:.2g} × one node"


def _verdict(choice: Choice, *, is_first: bool) -> str:
    steps = []
    if choice.needs_room:
        steps.append("other models make room first")
    lacking = [share.node for share in choice.shares if not share.is_stored]
    if lacking:
        steps.append(f"files go to {', '.join(lacking)} first")
    return ": ".join(filter(None, ("this one" if is_first else "fits", "; ".join(steps))))
