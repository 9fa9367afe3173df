"""What an operator reads."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bus.connection import Bus
from ops import watch
from proto.ids import EngineId, ModelId, NodeId
from proto.jobs import NodeProgress
from proto.presence import EngineBeat, EngineStatus, ModelCard, NodeBeat
from proto.subjects import ALERT_TELEMETRY
from proto.telemetry import Alert, EngineEvent, JobEvent, RequestEvent


def line(kind: str, message: Any, view: watch.Readable | None = None) -> str | None:
    view = view or watch.Readable()
    return view.line(f"telemetry.v1.{kind}.studio", msgspec.json.encode(message))


def beat(**given: Any) -> EngineBeat:
    usual: dict[str, Any] = {
        "engine": EngineId("studio-tiny"), "node": NodeId("studio"), "boot": "b", "pid": 1,
        "state": "ready", "models": (ModelCard(id=ModelId("Tiny"), context_length=64),),
        "memory_bytes": 1_500_000_000,
    }  # fmt: skip
    return EngineBeat(**(usual | given))


def test_an_engine_beat_is_one_line() -> None:
    told = line("engine", beat(running=2, tokens_per_s=41.6)) or ""

    assert "ready, 2 running, 0 queued · 42 tokens/s · 1.5 GB · cache 0 MB · Tiny" in told


def test_a_beat_that_says_nothing_new_is_left_out() -> None:
    view = watch.Readable()
    line("engine", beat(), view)

    assert line("engine", beat(tokens_per_s=9.0), view) is None
    assert line("engine", beat(running=1), view)


def test_a_quiet_speaker_is_shown_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    view = watch.Readable()
    line("engine", beat(), view)
    monkeypatch.setattr(watch, "QUIET_S", 0.0)

    assert line("engine", beat(), view)


def test_a_node_tells_its_memory() -> None:
    status = EngineStatus(engine=EngineId("e"), model=ModelId("tiny"), phase="ready")
    node = NodeBeat(
        node=NodeId("n"), boot="b", pid=1, host="studio.local", platform="darwin",
        memory_bytes=64_000_000_000, free_bytes=900_000_000, engines=(status,),
    )  # fmt: skip

    assert "studio.local, 1 engine · 900 MB of 64.0 GB free" in (line("node", node) or "")


def test_a_request_tells_how_it_went() -> None:
    event = RequestEvent(
        request="r", model="tiny", engine="e", gateway="g", dialect="openai",
        endpoint="/v1/chat/completions", stream=True, status="ok", prompt_tokens=12,
        completion_tokens=40, cached_tokens=8, ttft_s=0.035, duration_s=0.4, tokens_per_s=120.0,
    )  # fmt: skip

    assert (
        "ok · tiny · /v1/chat/completions · 12 + 40 tokens (8 cached) · first after 35 ms"
        " · 0.40 s · 120 tokens/s"
    ) in (line("request", event) or "")


def test_alerts_and_events_are_told() -> None:
    alert = Alert(alert="engine_gone", subject="e", detail="SIGKILL", cleared=True, at_s=0.0)
    event = EngineEvent(engine="e", node="n", model="tiny", phase="starting", at_s=0.0)

    assert "over: engine_gone e · SIGKILL" in (line("alert", alert) or "")
    assert (line("event", event) or "").endswith("starting tiny on n")


def test_a_job_is_told_when_it_does_something_else() -> None:
    view = watch.Readable()
    fetching = NodeProgress(
        node=NodeId("n"), phase="fetching", done_bytes=1_000_000_000, total_bytes=4_000_000_000
    )
    event = JobEvent(
        job="j", kind="pull", model="org/x", state="running", phase="fetching", nodes=(fetching,),
        at_s=0.0,
    )  # fmt: skip

    first = line("job", event, view) or ""

    assert first.endswith("pull org/x running, fetching · n fetching · 25 % of 4.0 GB")
    assert line("job", replace(event, nodes=()), view) is None
    assert line("job", replace(event, state="done", phase="done"), view)


@pytest.mark.parametrize("body", [b"\xff", b"[1]", b"{}", b"null", b'{"state": 1}'])
def test_what_cannot_be_read_is_shown_as_it_is(body: bytes) -> None:
    told = watch.Readable().line("telemetry.v1.engine.e", body)

    assert told is not None
    assert told.endswith(body.decode(errors="replace"))


async def test_it_hears_the_bus(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    alert = Alert(alert="node_gone", subject="n", detail="silent", at_s=0.0)
    watching = asyncio.create_task(watch._watch(bus.url, watch.Raw()))
    said = ""
    async with asyncio.timeout(5):
        while "node_gone" not in said:
            await bus.publish(ALERT_TELEMETRY, alert, "test")
            await bus.settled()
            said = capsys.readouterr().out
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching

    assert msgspec.json.decode(said.splitlines()[0], type=Alert) == alert
