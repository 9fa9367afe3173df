"""Random answers as the events of either dialect, read again as an upstream's: nothing is lost."""

from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proto.dialects.anthropic_events import Events
from proto.dialects.anthropic_ids import call_id
from proto.dialects.asked import Asked
from proto.dialects.openai_answer import Heading
from proto.dialects.openai_events import ChatEvents
from proto.frames import AnyFrame, CallDelta, Cause, Delta, End, Progress, Timings, Usage
from proto.generation import FinishReason, Generate
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import Text, Thought
from services.cloud.anthropic.events import Answer
from services.cloud.anthropic.events import read as read_anthropic
from services.cloud.frames import Frames
from services.cloud.openai.events import piece
from services.cloud.openai.events import read as read_openai
from services.cloud.piece import Piece
from services.gateway.answering.thoughts import Thoughts

QUICK = settings(max_examples=60, deadline=None)

PIECES = st.lists(st.text('ab ☃\n"\\{', min_size=1, max_size=4), max_size=3)
SIGNED = st.tuples(PIECES.filter(bool), st.sampled_from(["EqQB=", "s/2"]))
SEALED = st.sampled_from(["sealed==", "more=="])
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["look", "clock"]),
        st.dictionaries(st.sampled_from(["at", "n"]), st.integers(0, 9)),
    ),
    max_size=2,
)
ENDINGS: st.SearchStrategy[tuple[FinishReason, Cause]] = st.sampled_from(
    [("stop", ""), ("length", ""), ("stop", "refusal")]
)
USAGES = st.builds(
    lambda fresh, cached, made, thought: Usage(fresh + cached, made + thought, cached, thought),
    st.integers(0, 99), st.integers(0, 99), st.integers(1, 99), st.integers(0, 99),
)  # fmt: skip


class Said(NamedTuple):
    """What frames come to."""

    text: str
    thoughts: tuple[Thought, ...]
    calls: list[tuple[str, str, str]]
    end: End


@st.composite
def answers(draw: st.DrawFn) -> list[AnyFrame]:
    """As the cloud service says them."""
    frames: list[AnyFrame] = [Progress(0, 0, 0, 0, 0)]

    def thought(text: str, **more: str) -> None:
        frames.append(Delta(0, len(frames), text, (), channel="reasoning", **more))

    for block in draw(st.lists(SIGNED | SEALED, max_size=3)):
        if isinstance(block, str):
            thought("", sealed=block)
            continue
        for words in block[0]:
            thought(words)
        thought("", signature=block[1])
    frames += [Delta(0, len(frames) + at, text, ()) for at, text in enumerate(draw(PIECES))]
    calls = draw(CALLS)
    for number, (name, arguments) in enumerate(calls):
        written = msgspec.json.encode(arguments).decode()
        frames.append(CallDelta(0, len(frames), number, f"call_{number}", name, "", ()))
        for part in (written[:3], written[3:]):
            frames.append(CallDelta(0, len(frames), number, "", "", part, ()))
    reason, cause = draw(ENDINGS)
    if calls and reason == "stop" and not cause:
        reason = "tool_calls"
    timings = Timings(0.0, 0.0, 0.0)
    return [*frames, End(0, len(frames), reason, draw(USAGES), timings, None, cause)]


def said(frames: list[AnyFrame]) -> Said:
    thoughts, texts = Thoughts(), []
    calls: list[list[str]] = []
    for frame in frames:
        if isinstance(frame, Delta) and frame.channel == "reasoning":
            thoughts.add(frame)
        elif isinstance(frame, Delta):
            texts.append(frame.text)
        elif isinstance(frame, CallDelta):
            if frame.call == len(calls):
                calls.append([call_id(frame.id), frame.name, ""])
            calls[frame.call][2] += frame.arguments
    end = frames[-1]
    assert isinstance(end, End)
    bare = End(0, 0, end.reason, end.usage, Timings(0.0, 0.0, 0.0), end.stop, end.cause)
    return Said("".join(texts), thoughts.made(), [(i, n, a) for i, n, a in calls], bare)


def told(events: Any, frames: list[AnyFrame]) -> list[bytes]:
    """The data of the events that a client receives."""
    body = b""
    for frame in frames:
        match frame:
            case Progress():
                body += events.progress(0, frame)
            case Delta():
                body += events.delta(0, frame)
            case CallDelta():
                body += events.call(0, frame)
            case End():
                body += events.end(0, frame)
    return [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]


def heard(pieces: list[Piece]) -> Said:
    """What an upstream's pieces come to as frames."""
    request = Generate(
        request=RequestId("r"),
        gateway=GatewayId("g"),
        model=ModelId("m"),
        prompt=Text(text="x"),
    )
    frames = Frames(request)
    found: list[AnyFrame] = [frames.began()]
    for made in pieces:
        found += frames.of(made)
    return said([*found, frames.ended()])


@QUICK
@given(answers())
def test_an_answer_survives_anthropic_s_events(frames: list[AnyFrame]) -> None:
    answer = Answer()
    lines = told(Events("msg_1", "m", "r"), frames)

    pieces = [answer.pieces(read_anthropic(line)) for line in lines]

    assert answer.is_complete
    assert heard([made for made in pieces if made is not None]) == said(frames)


@QUICK
@given(answers())
def test_an_answer_survives_openai_s_events(frames: list[AnyFrame]) -> None:
    asked = Asked(model=ModelId("m"), prompts=(Text(text="x"),), include_usage=True)
    lines = told(ChatEvents(asked, Heading("id", "chat.completion.chunk", 1, "m", "fp")), frames)

    assert lines[-1] == b"[DONE]"
    assert heard([piece(read_openai(line)) for line in lines[:-1]]) == said(frames)
