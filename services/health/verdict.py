"""Who is well: plain state and a plain verdict, fed with beats and asked with ``now``."""

from dataclasses import dataclass, field
from typing import Literal

from proto.presence import SILENCE_S, STALL_S
from proto.telemetry import AlertKind

Kind = Literal["engine", "node", "gateway", "service"]
FORGET_S = 600.0
"""Somebody gone for this long is no longer missed."""


_GONE: dict[Kind, AlertKind] = {
    "engine": "engine_gone",
    "node": "node_gone",
    "gateway": "gateway_gone",
    "service": "service_gone",
}


@dataclass(frozen=True)
class Trouble:
    alert: AlertKind
    subject: str
    detail: str


@dataclass
class _Heard:
    kind: Kind
    at: float
    stalled_s: float = 0.0
    gone: str | None = None
    """Why it ended, if somebody said so."""


@dataclass
class Ward:
    """Everybody heard of, by kind and id."""

    _heard: dict[tuple[Kind, str], _Heard] = field(default_factory=dict)
    _given_up: dict[str, dict[str, str]] = field(default_factory=dict)
    """Engines that their agents start no more, by node: why."""

    def hear(self, kind: Kind, id: str, now: float, stalled_s: float = 0.0) -> None:
        self._heard[kind, id] = _Heard(kind, now, stalled_s)

    def hear_given_up(self, node: str, engines: dict[str, str]) -> None:
        """All of a node's engines whose model is quarantined there, each with what there is to
        say of it.
        """
        self._given_up[node] = engines

    def hear_gone(self, kind: Kind, id: str, why: str, now: float) -> None:
        """Asked to stop is no trouble; anything else is, until it is heard again."""
        if kind == "node":
            self._given_up.pop(id, None)
        if why == "stopped":
            self._heard.pop((kind, id), None)
        else:
            self._heard[kind, id] = _Heard(kind, now, gone=why or "ended")

    def troubles(self, now: float) -> set[Trouble]:
        """Everything wrong now; forgets whoever is long gone."""
        for key, heard in list(self._heard.items()):
            if now - heard.at > FORGET_S:
                del self._heard[key]
        given_up = {id: why for each in self._given_up.values() for id, why in each.items()}
        found = (
            _trouble(id, heard, now) for (_, id), heard in self._heard.items() if id not in given_up
        )
        quarantined = {Trouble("model_quarantined", id, why) for id, why in given_up.items()}
        return {trouble for trouble in found if trouble} | quarantined


def _trouble(id: str, heard: _Heard, now: float) -> Trouble | None:
    if heard.gone is not None:
        return Trouble(_GONE[heard.kind], id, f"ended: {heard.gone}")
    if now - heard.at > SILENCE_S:
        return Trouble(_GONE[heard.kind], id, f"silent for more than {SILENCE_S:g} s")
    if heard.stalled_s >= STALL_S:
        return Trouble("engine_wedged", id, f"has work but made no step for {STALL_S:g} s")
    return None
