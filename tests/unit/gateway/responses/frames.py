"""Scripts for an engine, written as what it tells."""

from collections.abc import Callable
from typing import Any

from proto.frames import (
    AnyFrame,
    CallDelta,
    Delta,
    End,
    PositionLogprobs,
    Progress,
    Timings,
    TokenLogprob,
    Usage,
)
from proto.generation import FinishReason, Generate
from tests.unit.gateway.scripted import Script, ScriptedEngine

Tell = Callable[[int, int], AnyFrame]
"""A frame, given its epoch and number."""


def telling(*frames: Tell) -> Script:
    """A script that sends these, whatever is asked."""

    async def script(engine: ScriptedEngine, asked: Generate) -> None:
        epoch = asked.epoch
        engine.send(asked, Progress(epoch, 0, 10, 10, 4))
        engine.send(asked, *(frame(epoch, seq) for seq, frame in enumerate(frames, 1)))

    return script


def thought(text: str) -> Tell:
    return lambda epoch, seq: Delta(epoch, seq, text, (seq,), channel="reasoning")


def said(text: str, logprob: float | None = None) -> Tell:
    if logprob is None:
        return lambda epoch, seq: Delta(epoch, seq, text, (seq,))
    chosen = TokenLogprob(1, text.encode(), logprob)
    position = PositionLogprobs(chosen, (chosen, TokenLogprob(2, b"x", float("-inf"))))
    return lambda epoch, seq: Delta(epoch, seq, text, (seq,), (position,))


def called(call: int, arguments: str, name: str = "", id: str = "") -> Tell:
    return lambda epoch, seq: CallDelta(epoch, seq, call, id, name, arguments, (seq,))


def ended(reason: FinishReason = "stop") -> Tell:
    return lambda epoch, seq: End(epoch, seq, reason, Usage(10, 5, 4, 3), Timings(0, 0.1, 0.2))


def kinds(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]
