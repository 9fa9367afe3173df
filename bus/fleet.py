"""Who is alive: each listener's own view of the mesh, made of heartbeats and farewells."""

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Any

from bus.connection import Bus
from proto.ids import EngineId, ModelId, NodeId
from proto.presence import SILENCE_S, STALL_S, EngineBeat, Gone, ModelCard, NodeBeat
from proto.refusing import takes
from proto.subjects import ENGINE_BEAT, ENGINE_GONE, NODE_BEAT, NODE_GONE

LEAVING = ("draining", "stopping")
"""Phases in which an agent wants nothing new for an engine, whatever the engine says itself."""
_NONE: frozenset[EngineId] = frozenset()


class Fleet:
    """Engines and nodes by their latest heartbeat.

    Alive means heard of late and making progress: an engine whose step clock
    stands while it has work is not. Hearing costs the same however large the
    mesh is, and asking for a model costs what its holders do. The clock is
    handed in.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._oldest: Callable[[], float] = lambda: now() - SILENCE_S
        """Who was heard before that is silent."""
        self._engines: dict[EngineId, tuple[float, EngineBeat]] = {}
        self._nodes: dict[NodeId, tuple[float, NodeBeat]] = {}
        self._ended: dict[tuple[str, str], None] = {}
        """Lives that are over: whose, and which boot."""
        self._held: dict[str, list[EngineId]] = {}
        """Engines by every name of the models they have, in the order of their ids."""
        self._open: set[EngineId] = set()
        """Those that take models which they do not hold."""
        self._leaving: dict[NodeId, frozenset[EngineId] | None] = {}
        """What takes nothing new on a node, by its agent's last word; None: nothing there does."""

    async def follow(self, bus: Bus) -> None:
        self._oldest = lambda: bus.ear.oldest(SILENCE_S)
        await bus.listen(ENGINE_BEAT, self.hear_engine)
        await bus.listen(NODE_BEAT, self.hear_node)
        await bus.listen(ENGINE_GONE, self.hear_gone)
        await bus.listen(NODE_GONE, self.hear_gone)

    def hear_engine(self, beat: EngineBeat) -> None:
        if (beat.engine, beat.boot) in self._ended:
            return
        known = self._engines.get(beat.engine)
        self._index(beat.engine, known[1].models if known else (), beat.models)
        if beat.accepts:
            self._open.add(beat.engine)
        else:
            self._open.discard(beat.engine)
        self._engines[beat.engine] = (self.now(), beat)

    def hear_node(self, beat: NodeBeat) -> None:
        if (beat.node, beat.boot) in self._ended:
            return
        self._nodes[beat.node] = (self.now(), beat)
        leaving = frozenset(status.engine for status in beat.engines if status.phase in LEAVING)
        if beat.is_draining:
            self._leaving[beat.node] = None
        elif leaving:
            self._leaving[beat.node] = leaving
        else:
            self._leaving.pop(beat.node, None)

    def hear_gone(self, gone: Gone) -> None:
        """Forget it at once, and whatever that life of it still seems to say.

        What a node was leaving, it still is: its agent's next life will say otherwise.
        """
        if gone.boot:
            self._ended[gone.id, gone.boot] = None
            if len(self._ended) > 1000:
                del self._ended[next(iter(self._ended))]
        if gone.kind == "engine":
            ended = _drop(self._engines, EngineId(gone.id), gone.boot)
            if ended is not None:
                self._index(ended.engine, ended.models, ())
                self._open.discard(ended.engine)
        elif gone.kind == "node":
            _drop(self._nodes, NodeId(gone.id), gone.boot)

    def engines(self) -> list[EngineBeat]:
        """Engines heard of late, whatever their state, in the order of their ids."""
        oldest = self._oldest()
        beats = [beat for at, beat in self._engines.values() if at >= oldest]
        return sorted(beats, key=lambda beat: beat.engine)

    def nodes(self) -> list[NodeBeat]:
        oldest = self._oldest()
        beats = [beat for at, beat in self._nodes.values() if at >= oldest]
        return sorted(beats, key=lambda beat: beat.node)

    def serving(self) -> list[EngineBeat]:
        """Engines that take requests and make progress, in the order of their ids."""
        return self._serving(sorted(self._engines))

    def holders(self, model: str) -> list[EngineBeat]:
        """Serving engines that have a model, by its id or one of its aliases; where none does,
        those that take it without.
        """
        held = self._held.get(model)
        return self._serving(held if held else self._takers(model))

    def provider_of(self, model: str) -> EngineBeat | None:
        """An engine of the provider that a model's name begins with, whatever its state."""
        name = model.partition(":")[0]
        return next((beat for beat in self.engines() if beat.provider == name != ""), None)

    def reachable(self, model: str, *, local_only: bool = False) -> list[EngineBeat]:
        """Holders that a request for the model may go to.

        It leaves the local network by its model's name alone: what an engine in the network goes
        by, ready or not, leads to none outside.
        """
        holders = self.holders(model)
        if not any(leaves(beat, model) for beat in holders):
            return holders
        near = [beat for beat in holders if not leaves(beat, model)]
        if local_only or near or any(_is_near(beat, model) for beat in self.engines()):
            return near
        return holders

    def heard(self, engine: EngineId) -> EngineBeat | None:
        """Its latest heartbeat, however old; None: it was never heard, or has said farewell."""
        known = self._engines.get(engine)
        return known[1] if known else None

    def is_serving(self, engine: EngineId) -> bool:
        return bool(self._serving((engine,)))

    def models(self) -> list[ModelCard]:
        """Every model that can be asked for now, once, in the order of their ids."""
        cards = {card.id: card for engine in self.serving() for card in engine.models}
        return [cards[id] for id in sorted(cards)]

    def _takers(self, model: str) -> list[EngineId]:
        taking = (self._engines[engine][1] for engine in self._open if engine in self._engines)
        return sorted(beat.engine for beat in taking if takes(beat, model))

    def _serving(self, engines: Iterable[EngineId]) -> list[EngineBeat]:
        oldest = self._oldest()
        heard = [self._engines[engine] for engine in engines if engine in self._engines]
        return [
            beat
            for at, beat in heard
            if at >= oldest
            and beat.state == "ready"
            and beat.stalled_s < STALL_S
            and not self._is_leaving(beat)
        ]

    def _is_leaving(self, beat: EngineBeat) -> bool:
        leaving = self._leaving.get(beat.node, _NONE)
        return leaving is None or beat.engine in leaving

    def _index(
        self, engine: EngineId, before: tuple[ModelCard, ...], now: tuple[ModelCard, ...]
    ) -> None:
        if before == now:
            return
        old, new = _names(before), _names(now)
        for name in old - new:
            held = self._held[name]
            del held[bisect_left(held, engine)]
            if not held:
                del self._held[name]
        for name in new - old:
            insort(self._held.setdefault(name, []), engine)


def _is_near(beat: EngineBeat, model: str) -> bool:
    return not leaves(beat, model) and card_of(beat, model) is not None


def leaves(beat: EngineBeat, model: str) -> bool:
    """Whether a request for the model leaves the local network there, or by way of there."""
    if beat.provider_kind != "mesh":
        return beat.leaves
    card = card_of(beat, model)
    return beat.leaves or (card is not None and card.leaves)


def card_of(engine: EngineBeat, model: str) -> ModelCard | None:
    """The engine's card for what a client calls ``model``."""
    for card in engine.models:
        if model == card.id or ModelId(model) in card.aliases:
            return card
    return None


def _names(cards: tuple[ModelCard, ...]) -> set[str]:
    return {name for card in cards for name in (card.id, *card.aliases)}


def _drop(beats: dict[Any, tuple[float, Any]], key: str, boot: str) -> Any:
    """The beat that was dropped; None when it is of another life, or nobody's."""
    heard = beats.get(key)
    if heard is None or boot not in ("", heard[1].boot):
        return None
    del beats[key]
    return heard[1]
