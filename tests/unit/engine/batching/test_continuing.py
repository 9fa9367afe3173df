"""An answer that another engine began: cut off after any frame, the two parts are the whole."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from proto.errors import Code, MeshError
from proto.format import JsonSchema, Regex
from proto.frames import AnyFrame, CallDelta, Delta, End, Progress
from proto.generation import Continuation, Sampling
from proto.ids import RequestId
from proto.prompt import Chat, Prompt, Thinking, Tokens, Tool, ToolChoice, Turn
from services.gateway.asking.delivered import Delivered
from services.runner.engine.batching import sequence as sequences
from services.runner.engine.batching.kv_room import KvRoom
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.loading import LoadedModel
from tests.unit.engine.asking import prompt, receive, saying
from tests.unit.engine.conftest import Driver

CHAT = Chat(turns=(Turn(role="user", content="Tell me of tides."),))
SEEDED = Sampling(temperature=1.3, seed=11, top_p=0.9)
PENALISED = Sampling(
    temperature=0, presence_penalty=1.5, frequency_penalty=0.7, repetition_penalty=1.2
)
LOOK = Tool(name="look", parameters={"type": "object", "properties": {"at": {"type": "string"}}})
CALLED = (
    '<think>hm</think>So: <tool_call>{"name": "look", "arguments": {"at": "it"}}'
    '</tool_call>\n<tool_call>{"name": "look", "arguments": {"at": "é"}}</tool_call>'
)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}

Drive = Callable[..., Driver]


@dataclass
class Question:
    """One request, which may be asked of several engines."""

    model: LoadedModel
    prompt: Prompt
    asked: dict[str, Any] = field(default_factory=dict)

    def to(self, name: str, continues: Continuation | None = None, epoch: int = 0) -> Sequence:
        """Under the id that it has everywhere, whatever the driver is to call it."""
        made = receive(self.model, "r", self.prompt, continues=continues, epoch=epoch, **self.asked)
        made.request = RequestId(name)
        return made


def told(frames: list[AnyFrame]) -> list[Any]:
    """What a client is told, whoever says it."""
    return [
        (f.text, f.channel, f.tokens, [p.chosen.token for p in f.logprobs])
        if isinstance(f, Delta)
        else (f.call, f.id, f.name, f.arguments, f.tokens)
        for f in frames
        if isinstance(f, Delta | CallDelta)
    ]


def logprobs(frames: list[AnyFrame]) -> list[float]:
    made = (frame for frame in frames if isinstance(frame, Delta))
    return [p.logprob for d in made for place in d.logprobs for p in (place.chosen, *place.top)]


def cuts(frames: list[AnyFrame]) -> list[int]:
    """After each frame of the answer."""
    return [i + 1 for i, f in enumerate(frames) if isinstance(f, Delta | CallDelta)]


def delivered(frames: list[AnyFrame]) -> Continuation | None:
    counted = Delivered()
    counted.add(frames)
    return counted.continuation


def expect_equal_wherever_cut(drive: Drive, question: Question, **settings: Any) -> list[AnyFrame]:
    """The frames of the undisturbed run."""
    alone = drive(question.model)
    alone.run(question.to("whole"))
    whole = alone.frames[RequestId("whole")]
    assert isinstance(whole[-1], End)
    second = drive(question.model, **settings)
    second.run(*(question.to(f"c{at}", delivered(whole[:at]), epoch=1) for at in cuts(whole)))
    for at in cuts(whole):
        rest = second.frames[RequestId(f"c{at}")]
        assert [f.seq for f in rest] == list(range(len(rest))), f"cut after {at} frames"
        assert {f.epoch for f in rest} == {1}
        assert told(whole[:at]) + told(rest) == told(whole), f"cut after {at} frames"
        assert logprobs(whole[at:]) == pytest.approx(logprobs(rest), abs=2e-3)
        expect_same_end(whole[-1], rest[-1])
    return whole


def expect_same_end(whole: AnyFrame, rest: AnyFrame) -> None:
    assert isinstance(whole, End)
    assert isinstance(rest, End)
    assert (rest.reason, rest.stop, rest.usage) == (whole.reason, whole.stop, whole.usage)


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0), SEEDED, PENALISED], ids=["greedy", "seeded", "penalised"]
)
def test_tokens_and_their_logprobs(drive: Drive, tiny: LoadedModel, sampling: Sampling) -> None:
    asked = {"sampling": sampling, "logprobs": 2, "max_tokens": 16}

    whole = expect_equal_wherever_cut(drive, Question(tiny, Tokens(ids=tuple(prompt(40))), asked))

    assert whole[-1].reason == "length"
    assert len(cuts(whole)) == 16


def test_stop_strings_that_the_cut_divides(drive: Drive, tiny: LoadedModel) -> None:
    question = Question(tiny, Tokens(ids=tuple(prompt(40))), {"max_tokens": 30})
    text = "".join(t[0] for t in told(expect_equal_wherever_cut(drive, question)))
    question.asked["stop"] = (text[12:18], text[20:25] + "\x00")

    whole = expect_equal_wherever_cut(drive, question)

    assert (whole[-1].reason, whole[-1].stop) == ("stop_sequence", text[12:18])


def test_what_is_held_back_until_the_turn_ends(drive: Drive, parrot: LoadedModel) -> None:
    asked = {"stop": ("END OF IT",), "logprobs": 1}

    whole = expect_equal_wherever_cut(drive, Question(parrot, saying("so END OF"), asked))

    assert whole[-1].reason == "stop"
    assert whole[-2].text.endswith("END OF")
    assert whole[-2].tokens == ()


def test_thinking_within_a_budget(drive: Drive, parrot: LoadedModel) -> None:
    chat = saying(
        "<think>well, " + "hm " * 20 + "</think>\n\nYes.", thinking=Thinking(budget_tokens=9)
    )

    whole = expect_equal_wherever_cut(drive, Question(parrot, chat, {"max_tokens": 40}))

    assert whole[-1].usage.reasoning_tokens in range(9, 12)


@pytest.mark.parametrize(
    "form", [JsonSchema(schema=SCHEMA), Regex(pattern="(a[bc]){9}!")], ids=["schema", "regex"]
)
def test_formats(drive: Drive, tiny: LoadedModel, form: Any) -> None:
    asked = {"format": form, "sampling": SEEDED, "max_tokens": 60, "logprobs": 1}

    whole = expect_equal_wherever_cut(drive, Question(tiny, CHAT, asked))

    assert whole[-1].reason == "stop"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_calls(drive: Drive, parrot: LoadedModel, mode: Any) -> None:
    said = CALLED if mode == "auto" else CALLED.replace("So: ", "")
    chat = saying(said, tools=(LOOK,), tool_choice=ToolChoice(mode=mode))

    whole = expect_equal_wherever_cut(drive, Question(parrot, chat, {"max_tokens": 400}))

    assert whole[-1].reason == "tool_calls"
    ids = [f.id for f in whole if isinstance(f, CallDelta) and f.id]
    assert len(set(ids)) == (2 if mode == "auto" else 1)


def test_a_call_that_is_cut_off(drive: Drive, parrot: LoadedModel) -> None:
    chat = saying(CALLED[: CALLED.index("}}")], tools=(LOOK,))

    expect_equal_wherever_cut(drive, Question(parrot, chat))


def test_it_may_be_paused_where_it_goes_on(
    drive: Drive, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "GROWTH", 4)
    paused: list[RequestId] = []
    pause = Sequence.pause
    monkeypatch.setattr(Sequence, "pause", lambda s: (paused.append(s.request), pause(s)))
    question = Question(tiny, Tokens(ids=tuple(prompt(20))), {"sampling": SEEDED, "max_tokens": 14})

    expect_equal_wherever_cut(drive, question, kv=KvRoom(tokens=150))

    assert paused


def test_its_progress_is_that_of_the_prompt(drive: Drive, tiny: LoadedModel) -> None:
    driver = drive()
    said = Continuation(tokens=(5, 6, 7), cached_tokens=3)

    driver.run(Question(tiny, Tokens(ids=tuple(prompt(20))), {"max_tokens": 5}).to("r", said))

    first = driver.frames[RequestId("r")][0]
    assert isinstance(first, Progress)
    assert (first.total, first.cached) == (20, 3)


def test_who_goes_on_comes_before_those_who_have_heard_nothing(
    drive: Drive, tiny: LoadedModel
) -> None:
    driver = drive(slots=1)
    question = Question(tiny, Tokens(ids=tuple(prompt(20))), {"max_tokens": 6})

    driver.run(*(question.to(n) for n in "ab"), question.to("c", Continuation(tokens=(5, 6))))

    assert list(driver.frames) == ["c", "a", "b"]


def test_an_engine_without_room_for_what_was_said_refuses(tiny: LoadedModel) -> None:
    question = Question(tiny, Tokens(ids=tuple(prompt(1000))))

    with pytest.raises(MeshError) as refused:
        question.to("r", Continuation(tokens=(5,) * 30))

    assert refused.value.code is Code.CONTEXT_OVERFLOW
