"""Traces: continued from the caller, exported when asked to."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bus import tracing
from tests.collector import collecting

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("header", [None, "", "garbage", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_a_malformed_caller_is_no_caller(header: str | None) -> None:
    assert tracing.parse(header) is None


def test_a_trace_is_continued_with_a_span_of_its_own() -> None:
    mine = tracing.begin(CALLER)

    assert mine.trace == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert mine.span != "00f067aa0ba902b7"
    assert tracing.parse(mine.header) == mine


def test_without_a_collector_a_span_costs_nothing_and_says_nothing() -> None:
    with tracing.span("generate") as late:
        late["engine"] = "e"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What a collector on loopback was sent, body by body."""
    with collecting() as traced:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traced.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield traced.bodies


def test_spans_reach_the_collector_under_the_callers_trace(
    collector: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_tracer", None)
    provider = tracing.export("gateway")
    assert provider is not None
    caller = tracing.begin(CALLER)
    with tracing.span("openai chat") as late:
        late["gen_ai.request.model"] = "tiny"
    tracing.record("generate", caller, 1.0, 2.5, queued=0)
    provider.shutdown()

    spans = [
        span
        for body in collector
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for span in spans} == {"openai chat", "generate"}
    assert {span.trace_id.hex() for span in spans} == {caller.trace}
    assert {span.parent_span_id.hex() for span in spans} == {caller.span}
    told = next(span for span in spans if span.name == "generate")
    assert told.end_time_unix_nano - told.start_time_unix_nano == 1_500_000_000
