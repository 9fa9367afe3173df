"""Who is well: plain state and a plain verdict, fed with beats and asked with ``now``."""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from proto.presence import SILENCE_S, STALL_S, Unreadable
from proto.telemetry import AlertKind

Kind = Literal["engine", "node", "gateway", "service"]
RECENT_S = 60.0
"""So long after the last message that could not be read that is worth an alert."""
MALFORMED = (
    "drops messages that it cannot read: another version, or a program that does not belong "
    "there, is on the bus; the log has the subjects"
)
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
    down: str = ""
    """Why the upstream behind it is left alone."""
    gone: str | None = None
    """Why it ended, if somebody said so."""


class _Unread(NamedTuple):
    told: Unreadable
    grew_at: float
    """When more messages than before could not be read."""
    at: float


@dataclass
class Ward:
    """Everybody heard of, by kind and id."""

    _heard: dict[tuple[Kind, str], _Heard] = field(default_factory=dict)
    _unreadable: dict[str, _Unread] = field(default_factory=dict)
    """By who told it."""
    _given_up: dict[str, dict[str, str]] = field(default_factory=dict)
    """Engines that their agents start no more, by node: why."""

    def hear(self, kind: Kind, id: str, now: float, stalled_s: float = 0.0, down: str = "") -> None:
        self._heard[kind, id] = _Heard(kind, now, stalled_s, down)

    def hear_given_up(self, node: str, engines: dict[str, str]) -> None:
        """All of a node's engines whose model is quarantined there, each with what there is to
        say of it.
        """
        self._given_up[node] = engines

    def hear_unreadable(self, who: str, told: Unreadable, now: float) -> None:
        """What a speaker could not read, as its heartbeat says."""
        before = self._unreadable.get(who)
        is_more = before is not None and told.messages > before.told.messages
        grew_at = now if is_more else before.grew_at if before else -math.inf
        self._unreadable[who] = _Unread(told, grew_at, now)

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
        return {trouble for trouble in found if trouble} | quarantined | self._unread(now)

    def _unread(self, now: float) -> set[Trouble]:
        heard = {who: it for who, it in self._unreadable.items() if now - it.at <= SILENCE_S}
        self._unreadable = heard
        records = {record for it in heard.values() for record in it.told.records}
        dropping = [who for who, it in heard.items() if now - it.grew_at <= RECENT_S]
        return {Trouble("state_unreadable", record, _spoiled(record)) for record in records} | {
            Trouble("messages_unreadable", who, MALFORMED) for who in dropping
        }


def _spoiled(record: str) -> str:
    return (
        f"the record {record} cannot be read and is ignored; `odyssai state` says why, "
        f"`odyssai state --drop {record}` removes it"
    )


def _trouble(id: str, heard: _Heard, now: float) -> Trouble | None:
    if heard.gone is not None:
        return Trouble(_GONE[heard.kind], id, f"ended: {heard.gone}")
    if now - heard.at > SILENCE_S:
        return Trouble(_GONE[heard.kind], id, f"silent for more than {SILENCE_S:g} s")
    if heard.stalled_s >= STALL_S:
        return Trouble("engine_wedged", id, f"has work but made no step for {STALL_S:g} s")
    if heard.down:
        return Trouble("upstream_down", id, f"fails again and again: {heard.down}")
    return None
