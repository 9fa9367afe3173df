"""Trace context: carried in bus headers, kept in a context variable, exported when asked to.

W3C Trace Context (https://www.w3.org/TR/trace-context/), version 00. Spans go to
OpenTelemetry only when OTEL_EXPORTER_OTLP_ENDPOINT is set, since importing the
SDK costs every process some 20 MB. One span per request and service, never per
token: a span costs about 60 µs.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

HEADER = "traceparent"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True)
class TraceContext:
    trace: str
    """32 hexadecimal digits."""
    span: str
    """16 hexadecimal digits: the caller's span."""
    flags: str = "01"

    @property
    def header(self) -> str:
        return f"00-{self.trace}-{self.span}-{self.flags}"

    def child(self) -> "TraceContext":
        return TraceContext(self.trace, secrets.token_hex(8), self.flags)


current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
_tracer: "Tracer | None" = None


def parse(header: str | None) -> TraceContext | None:
    """The context in a traceparent header; None where it is absent or malformed."""
    match = _FORM.fullmatch(header or "")
    return TraceContext(*match.groups()) if match else None


def begin(header: str | None = None) -> TraceContext:
    """Continue the caller's trace, or start one, for the current task."""
    caller = parse(header)
    context = (
        caller.child() if caller else TraceContext(secrets.token_hex(16), secrets.token_hex(8))
    )
    current.set(context)
    return context


def export(service: str) -> "TracerProvider | None":
    """Send this process's spans to the collector named by the OTEL_* variables, if any."""
    global _tracer
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"odyssai-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("odyssai")
    return provider


@contextmanager
def span(name: str) -> Iterator[dict[str, Any]]:
    """One span around a request. Yields a dict: what is put there becomes attributes at its end.

    Of an error it holds the type alone: what it says may quote the request.
    """
    late: dict[str, Any] = {}
    if _tracer is None:
        yield late
        return
    parent = _context_of(current.get())
    with _tracer.start_as_current_span(
        name, context=parent, record_exception=False, set_status_on_exception=False
    ) as live:
        mine = live.get_span_context()
        token = current.set(TraceContext(f"{mine.trace_id:032x}", f"{mine.span_id:016x}"))
        try:
            yield late
        except BaseException as error:
            late["error.type"] = type(error).__name__
            raise
        finally:
            current.reset(token)
            live.set_attributes(late)


def record(
    name: str, caller: TraceContext | None, began_s: float, ended_s: float, **attributes: Any
) -> None:
    """A span told after the fact, in unix seconds, for work that no single task did."""
    if _tracer is None:
        return
    told = _tracer.start_span(
        name,
        context=_context_of(caller),
        start_time=int(began_s * 1e9),
        attributes=attributes,
    )
    told.end(int(ended_s * 1e9))


def _context_of(here: TraceContext | None) -> "Context | None":
    """The caller's span as OpenTelemetry knows it: the parent of what comes now."""
    if here is None:
        return None
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    remote = SpanContext(
        int(here.trace, 16), int(here.span, 16), True, TraceFlags(int(here.flags, 16))
    )
    return trace.set_span_in_context(NonRecordingSpan(remote))
