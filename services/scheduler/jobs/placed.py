"""What stands of an order in a node's plan, and what later orders say of it."""

from proto.ids import NodeId, engine_id
from proto.jobs import Job, Load
from proto.memory import Grant
from proto.plan import Placement
from proto.store import StoredModel
from services.scheduler.changes import Change, alter
from services.scheduler.placing.placing import Wish


def placed(
    job: Job, order: Load, wish: Wish, now_s: float, node: NodeId, stored: StoredModel, grant: Grant
) -> Placement:
    """Of a whole model, served without a draft."""
    return Placement(
        engine=engine_id(node, stored.source),
        model=stored.id,
        source=stored.source,
        aliases=stored.aliases,
        fingerprint=stored.fingerprint,
        kind=stored.kind,
        grant=grant,
        slots=wish.slots,
        origin="demand" if job.by == "demand" else "operator",
        is_pinned=wish.is_pinned,
        idle_ttl_s=wish.idle_ttl_s,
        placed_s=now_s,
        job=job.id,
        asked_context=order.context,
        asked_batch=order.batch,
    )


def kept(order: Load, placement: Placement) -> tuple[Change, ...]:
    """What an order says of a loaded model beside its sizes."""
    asked = {
        "is_pinned": True if order.is_pinned else None,
        "was_ordered": True if placement.origin == "flag" else None,
        "idle_ttl_s": order.idle_ttl_s,
        "asked_context": order.context,
        "asked_batch": order.batch,
    }
    fields = {
        name: said
        for name, said in asked.items()
        if said is not None and getattr(placement, name) != said
    }
    return (alter([placement.engine], **fields),) if fields else ()
