"""Who is alive: each listener's own view of the mesh, made of heartbeats and farewells."""

import time
from collections.abc import Callable
from typing import Any

from bus.connection import Bus
from proto.ids import EngineId, ModelId, NodeId
from proto.presence import SILENCE_S, STALL_S, EngineBeat, Gone, ModelCard, NodeBeat
from proto.subjects import ENGINE_BEAT, GONE, NODE_BEAT


class Fleet:
    """Engines and nodes by their latest heartbeat.

    Alive means heard of late and making progress: an engine whose step clock
    stands while it has work is not. The clock is handed in.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._engines: dict[EngineId, tuple[float, EngineBeat]] = {}
        self._nodes: dict[NodeId, tuple[float, NodeBeat]] = {}
        self._ended: dict[str, None] = {}

    async def follow(self, bus: Bus) -> None:
        await bus.listen(ENGINE_BEAT, self.hear_engine)
        await bus.listen(NODE_BEAT, self.hear_node)
        await bus.listen(GONE, self.hear_gone)

    def hear_engine(self, beat: EngineBeat) -> None:
        if beat.boot not in self._ended:
            self._engines[beat.engine] = (self._now(), beat)

    def hear_node(self, beat: NodeBeat) -> None:
        if beat.boot not in self._ended:
            self._nodes[beat.node] = (self._now(), beat)

    def hear_gone(self, gone: Gone) -> None:
        """Forget it at once, and whatever that life of it still seems to say."""
        if gone.boot:
            self._ended[gone.boot] = None
            if len(self._ended) > 1000:
                del self._ended[next(iter(self._ended))]
        if gone.kind == "engine":
            _drop(self._engines, EngineId(gone.id), gone.boot)
        elif gone.kind == "node":
            _drop(self._nodes, NodeId(gone.id), gone.boot)

    def engines(self) -> list[EngineBeat]:
        """Engines heard of late, whatever their state, in the order of their ids."""
        oldest = self._now() - SILENCE_S
        beats = [beat for at, beat in self._engines.values() if at >= oldest]
        return sorted(beats, key=lambda beat: beat.engine)

    def nodes(self) -> list[NodeBeat]:
        oldest = self._now() - SILENCE_S
        beats = [beat for at, beat in self._nodes.values() if at >= oldest]
        return sorted(beats, key=lambda beat: beat.node)

    def serving(self) -> list[EngineBeat]:
        """Engines that take requests and make progress."""
        return [e for e in self.engines() if e.state == "ready" and e.stalled_s < STALL_S]

    def holders(self, model: str) -> list[EngineBeat]:
        """Serving engines that have a model, by its id or one of its aliases."""
        return [e for e in self.serving() if card_of(e, model) is not None]

    def is_serving(self, engine: EngineId) -> bool:
        return any(e.engine == engine for e in self.serving())

    def models(self) -> list[ModelCard]:
        """Every model that can be asked for now, once, in the order of their ids."""
        cards = {card.id: card for engine in self.serving() for card in engine.models}
        return [cards[id] for id in sorted(cards)]


def card_of(engine: EngineBeat, model: str) -> ModelCard | None:
    """The engine's card for what a client calls ``model``."""
    for card in engine.models:
        if model == card.id or ModelId(model) in card.aliases:
            return card
    return None


def _drop(beats: dict[Any, tuple[float, Any]], key: str, boot: str) -> None:
    heard = beats.get(key)
    if heard is not None and boot in ("", heard[1].boot):
        del beats[key]
