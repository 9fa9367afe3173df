"""`odyssai watch`: what happens in the mesh, one line at a time."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bus.connection import Bus
from bus.errors import BusError
from bus.home import HomeError
from ops import reach
from ops.words import progress, size
from proto.audit import AuditEvent
from proto.money import nano_usd, shown
from proto.presence import STALL_S, EngineBeat, NodeBeat
from proto.subjects import (
    ALERT_TELEMETRY,
    AUDIT_TELEMETRY,
    EGRESS_TELEMETRY,
    ENGINE_TELEMETRY,
    EVENT_TELEMETRY,
    JOB_TELEMETRY,
    NODE_TELEMETRY,
    REQUEST_TELEMETRY,
    TELEMETRY,
    Subject,
)
from proto.telemetry import Alert, EgressEvent, EngineEvent, JobEvent, RequestEvent

QUIET_S = 10.0
"""A beat that says nothing new is printed this seldom."""


def main(args: argparse.Namespace) -> int:
    # `odyssai watch | head` ends without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        asyncio.run(_watch(reach.url(args, "ops"), Raw() if args.json else Readable()))
    except (BusError, HomeError) as error:
        print(f"odyssai: {error}", file=sys.stderr)
        return 1
    return 0


async def _watch(url: str, view: "Raw | Readable") -> None:
    def heard(address: str, body: bytes) -> None:
        line = view.line(address, body)
        if line is not None:
            print(line, flush=True)

    ended = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        # Of our own: a shell starts what it runs in the background deaf to Ctrl-C.
        asyncio.get_running_loop().add_signal_handler(sign, ended.set)
    async with Bus.connect(url, f"ops:watch-{os.getpid()}") as bus:
        await bus.listen_raw(TELEMETRY, heard)
        await ended.wait()


class Raw:
    def line(self, address: str, body: bytes) -> str:
        return body.decode(errors="replace")


class Readable:
    """Remembers the last beat printed of every speaker, to leave out what is not new."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, str]] = {}

    def line(self, address: str, body: bytes) -> str | None:
        kind, _, source = address.removeprefix("telemetry.v1.").partition(".")
        told = _told(kind, body)
        if kind in _BEATS and not self._is_new(address, told):
            return None
        return f"{time.strftime('%H:%M:%S')}  {kind:8} {source:20} {told}"

    def _is_new(self, address: str, told: str) -> bool:
        now_s = time.monotonic()
        then_s, before = self._said.get(address, (-QUIET_S, ""))
        # Up to the dot stands the state; behind it are figures that move by themselves.
        is_new = told.split(" · ")[0] != before.split(" · ")[0] or now_s - then_s >= QUIET_S
        if is_new:
            self._said[address] = (now_s, told)
        return is_new


def _told(kind: str, body: bytes) -> str:
    """In words; what is of no kind we know, or malformed, as it is."""
    try:
        subject, tell = _KINDS[kind]
        return tell(subject.decode(body))
    except (KeyError, msgspec.DecodeError):
        return body.decode(errors="replace")


def _engine(beat: EngineBeat) -> str:
    work = f"{beat.state}, {beat.running} running, {beat.queued} queued"
    figures = [f"{beat.tokens_per_s:.0f} tokens/s", size(beat.memory_bytes)]
    figures.append(f"cache {size(beat.cache.used_bytes)}")
    if beat.circuit != "closed":
        work += f", left alone ({beat.circuit}): {beat.trouble}"
    if beat.stalled_s >= STALL_S:
        figures.append(f"stalled {beat.stalled_s:.1f} s")
    return " · ".join([work, *figures, *(model.id for model in beat.models)])


def _node(beat: NodeBeat) -> str:
    engines = len(beat.engines)
    state = f"{beat.host}, {engines} engine{'s' * (engines != 1)}"
    return f"{state} · {size(beat.free_bytes)} of {size(beat.memory_bytes)} free"


def _request(event: RequestEvent) -> str:
    tokens = f"{event.prompt_tokens} + {event.completion_tokens} tokens"
    if event.cached_tokens:
        tokens += f" ({event.cached_tokens} cached)"
    parts = [event.status, event.model, event.endpoint, tokens]
    if event.cost_usd:
        parts.append(shown(nano_usd(event.cost_usd)))
    if event.ttft_s is not None:
        parts.append(f"first after {event.ttft_s * 1000:.0f} ms")
    return " · ".join([*parts, f"{event.duration_s:.2f} s", f"{event.tokens_per_s:.0f} tokens/s"])


def _alert(alert: Alert) -> str:
    ended = "over: " if alert.cleared else ""
    return f"{ended}{alert.alert} {alert.subject} · {alert.detail}"


def _egress(event: EgressEvent) -> str:
    said = f"{event.status}, {event.model} at {event.provider}"
    moved = f"{size(event.sent_bytes)} out, {size(event.received_bytes)} in"
    return f"{said}, {moved}, {event.prompt_tokens} + {event.completion_tokens} tokens"


def _event(event: EngineEvent) -> str:
    detail = f" · {event.detail}" if event.detail else ""
    return f"{event.phase} {event.model} on {event.node}{detail}"


def _job(event: JobEvent) -> str:
    what = " ".join(filter(None, (event.kind, event.model)))
    state = ", ".join(dict.fromkeys((event.state, event.phase)))
    parts = [f"{what} {state}", *map(progress, event.nodes), event.detail]
    return " · ".join(filter(None, parts))


def _audit(event: AuditEvent) -> str:
    return " · ".join(
        filter(None, (f"{event.act} {event.target}".strip(), event.by, event.outcome))
    )


_BEATS = {"engine", "node", "job"}
"""Said again and again; told when something is new."""
_KINDS: dict[str, tuple[Subject[Any], Callable[[Any], str]]] = {
    "engine": (ENGINE_TELEMETRY, _engine),
    "node": (NODE_TELEMETRY, _node),
    "request": (REQUEST_TELEMETRY, _request),
    "alert": (ALERT_TELEMETRY, _alert),
    "event": (EVENT_TELEMETRY, _event),
    "egress": (EGRESS_TELEMETRY, _egress),
    "job": (JOB_TELEMETRY, _job),
    "audit": (AUDIT_TELEMETRY, _audit),
}
