"""Groups that have lost a node, and serve nobody until they are formed anew on what is left."""

from msgspec import structs

from proto.errors import Code, MeshError
from proto.group import Group
from proto.ids import ModelId, NodeId
from proto.jobs import Load
from proto.plan import Placement
from services.scheduler.grouping.choosing import Frame, best, choices
from services.scheduler.grouping.unity import groups, missing, nodes_of
from services.scheduler.naming import defaults, known_model
from services.scheduler.placing.placing import Wish
from services.scheduler.placing.shortage import gigabytes
from services.scheduler.view import View

REGROUPING = "regrouping"
"""Who asked for a load that only follows from another node's loss."""
PATIENCE_S = 4.0
"""A node may be back at once, and after a power cut all come one by one."""


class Rescue:
    """Remembers since when each group has been without a node."""

    def __init__(self) -> None:
        self._since: dict[Group, float] = {}

    def look(self, view: View) -> list[Load]:
        """Orders for those that have waited long enough and fit on what is left. Others keep their
        places, and serve again when their node is back.
        """
        broken = {
            group: next(iter(ranks.values()))
            for group, ranks in groups(view).items()
            if missing(view, group) and not any(p.is_draining for p in ranks.values())
        }
        self._since = {group: self._since.get(group, view.clock_s) for group in broken}
        return [
            anew(placement)
            for group, placement in broken.items()
            if view.clock_s - self._since[group] >= PATIENCE_S
            if not _is_under_way(placement.model, view) and fits(view, placement)
        ]


def _is_under_way(model: ModelId, view: View) -> bool:
    loads = [
        j.order.model for j in view.jobs.values() if not j.is_over and isinstance(j.order, Load)
    ]
    return any(known_model(view, name) == model for name in loads)


def anew(placement: Placement) -> Load:
    """Whatever way is best now, of what is there; as large as it was asked for."""
    return Load(
        model=placement.model,
        context=placement.asked_context,
        batch=placement.asked_batch,
        is_pinned=placement.is_pinned,
        idle_ttl_s=placement.idle_ttl_s,
        slots=placement.slots,
        fetches=True,
        makes_room=False,
    )


def elsewhere(view: View, node: NodeId) -> tuple[list[Load], list[ModelId]]:
    """Of groups with a rank on a node that is to be emptied: orders for those that fit on others,
    to be given once their ranks drain, whose memory they need; and those that do not.
    """
    held = [p for p in view.plan(node).placements if p.group is not None and not p.is_draining]
    emptied = view.with_plan(structs.replace(view.plan(node), is_drained=True))
    fitting = [placement for placement in held if fits(emptied, placement)]
    return [anew(p) for p in fitting], [p.model for p in held if p not in fitting]


def fits(view: View, placement: Placement) -> bool:
    """Somewhere, were it taken apart."""
    freed = view.without(placement.model)
    stored = [known for _, known in freed.stored(placement.model)]
    if not stored:
        return False
    told = defaults(view, placement.model, *placement.aliases)
    wish = Wish(
        model=placement.model,
        context=placement.asked_context or told.context or None,
        batch=placement.asked_batch or told.batch or None,
        makes_room=False,
    )
    try:
        found = choices(freed, stored[0], wish, Frame())
    except MeshError:
        return False
    return best(found) is not None


def waits_for_node(view: View, model: ModelId) -> str | None:
    """What a group that lost a node waits for; None: no group of the model has. Raises MeshError
    for one that fits on nothing that is left.
    """
    for group, ranks in groups(view).items():
        placement = next(iter(ranks.values()))
        lost = missing(view, group) if placement.model == model else []
        if lost and fits(view, placement):
            return f"forming anew without {', '.join(lost)}"
        if lost:
            raise _lost(placement, group, lost)
    return None


def _lost(placement: Placement, group: Group, lost: list[NodeId]) -> MeshError:
    there, away = ", ".join(n for n in nodes_of(group) if n not in lost), ", ".join(lost)
    size = gigabytes(placement.grant.total_bytes)
    return MeshError(
        Code.NO_ENGINE,
        f"{placement.model} is shared by {', '.join(nodes_of(group))}, a part of {size} each, and "
        f"{away} is not heard; {there} alone has no room for it. It serves again when an agent "
        f"runs on {away}.",
        retry_after_s=5.0,
    )
