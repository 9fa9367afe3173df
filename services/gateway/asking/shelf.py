"""Models on the disks of nodes: what can be asked for beyond what is loaded."""

from collections.abc import Iterator

from bus.connection import Bus
from bus.fleet import Fleet
from bus.state import Bucket
from proto.ids import ModelId, NodeId
from proto.store import STORES, Store, StoredModel


class Shelf:
    """What living nodes have stored, as their agents wrote it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stores: dict[str, Store] = {}

    async def run(self, bus: Bus) -> None:
        """Follow it for ever."""
        await (await Bucket.open(bus, STORES, Store)).watch(self._hear)

    def _hear(self, node: str, store: Store | None) -> None:
        if store is None:
            self._stores.pop(node, None)
        else:
            self._stores[node] = store

    def models(self) -> list[tuple[StoredModel, list[NodeId]]]:
        """Each once, in the order of their ids, with the nodes that have it."""
        found: dict[ModelId, tuple[StoredModel, list[NodeId]]] = {}
        for node, model in self._stored():
            found.setdefault(model.id, (model, []))[1].append(node)
        return [found[id] for id in sorted(found)]

    def find(self, name: str) -> StoredModel | None:
        """By its id or one of its other names; an id comes first."""
        models = [model for _, model in self._stored()]
        by_id = (model for model in models if model.id == name)
        by_alias = (model for model in models if name in model.aliases)
        return next(by_id, None) or next(by_alias, None)

    def _stored(self) -> Iterator[tuple[NodeId, StoredModel]]:
        for beat in self._fleet.nodes():
            store = self._stores.get(beat.node)
            for model in store.models if store else ():
                yield beat.node, model
