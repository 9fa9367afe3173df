"""/admin/plan: how a model could be served, by one node or by several together."""

from typing import get_args

import msgspec

from bus import jobs
from proto.choice import WayWish, Weigh
from proto.dialects.asked import invalid
from proto.ids import ModelId, NodeId
from services.gateway.gateway import Gateway
from services.gateway.http.exchange import Exchange
from services.gateway.http.query import Query, number, single

PARAMETERS = ("model", "split", "ranks", "node", "cluster", "context", "batch")
MOST_RANKS = 64
MOST_TOKENS = 10**8


async def show_plan(gateway: Gateway, exchange: Exchange) -> None:
    """GET /admin/plan?model=. Raises MeshError."""
    found = await jobs.weigh(gateway.mesh.bus, _asked(exchange.query))
    await exchange.reply(200, msgspec.json.encode(found))


def _asked(query: Query) -> Weigh:
    model = single(query, "model")
    if model is None:
        raise invalid("`model` is missing; ask for /admin/plan?model=org/name.", "model")
    try:
        way = msgspec.convert(single(query, "split") or "auto", WayWish)
    except msgspec.ValidationError as error:
        ways = ", ".join(get_args(WayWish))
        raise invalid(f"`split` is none of {ways}.", "split") from error
    return Weigh(
        model=ModelId(model),
        way=way,
        ranks=number(query, "ranks", 0, least=1, most=MOST_RANKS) or None,
        nodes=tuple(NodeId(node) for node in query.get("node", ())),
        cluster=single(query, "cluster") or "",
        context=number(query, "context", 0, least=1, most=MOST_TOKENS) or None,
        batch=number(query, "batch", 0, least=1, most=MOST_TOKENS) or None,
    )
