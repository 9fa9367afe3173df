"""A group is one engine: what happens to one of its ranks happens to all."""

from collections.abc import Iterator

from proto.group import Group
from proto.ids import EngineId, ModelId, NodeId, node_of
from proto.plan import Placement
from services.scheduler.changes import Change, drain, remove
from services.scheduler.view import View

Ranks = dict[EngineId, Placement]
"""Placements of one group, by engine."""


def united(view: View) -> list[tuple[NodeId, Change]]:
    """Where a rank has left its plan all others do, whatever took it out; where one drains, all
    drain.
    """
    changes: list[tuple[NodeId, Change]] = []
    for group, ranks in groups(view).items():
        if len(ranks) < len(group.members):
            changes += [(node, remove([engine])) for node, engine in _places(ranks)]
        elif any(placement.is_draining for placement in ranks.values()):
            staying = {e: placement for e, placement in ranks.items() if not placement.is_draining}
            changes += [(node, drain([engine])) for node, engine in _places(staying)]
    return changes


def groups(view: View) -> dict[Group, Ranks]:
    """All that plans speak of, whole or not."""
    found: dict[Group, Ranks] = {}
    for node in sorted(view.plans):
        for placement in view.plans[node].placements:
            if placement.group is not None:
                found.setdefault(placement.group, {})[placement.engine] = placement
    return found


def group_of(view: View, model: ModelId) -> Group | None:
    """The one that serves a model, or is about to, or to end."""
    return next((p.group for _, p in view.placements(model) if p.group is not None), None)


def nodes_of(group: Group) -> tuple[NodeId, ...]:
    """By rank."""
    return tuple(member.node for member in group.members)


def missing(view: View, group: Group) -> list[NodeId]:
    """Nodes without which it cannot serve, and that are not heard.

    None while it serves: an agent that starts anew leaves its engines as they are.
    """
    leader = view.engines.get(group.leader)
    if leader is not None and leader.state == "ready":
        return []
    return [node for node in nodes_of(group) if node not in view.nodes]


def _places(ranks: Ranks) -> Iterator[tuple[NodeId, EngineId]]:
    for engine in ranks:
        yield node_of(engine), engine
