"""Whole answers with calls, from tokens to frames, by a parrot of each family."""

import json

import jsonschema
import pytest

from proto.frames import CallDelta, End
from proto.generation import Sampling
from proto.prompt import Chat, Thinking, ToolChoice, Turn
from services.runner.engine.calls.writing import UNREADABLE
from services.runner.engine.loading import load
from tests import parrot as parrots
from tests.parrot import make_parrot, script
from tests.unit.engine.asking import receive
from tests.unit.engine.calls.families import FAMILIES
from tests.unit.engine.calls.reading import TOOLS
from tests.unit.engine.calls.test_grammar import in_order
from tests.unit.engine.calls.test_reading import CALLS, families


def markers(name):
    written = FAMILIES[name]
    if name == "kimi_k3":  # Its longer markers are made of these.
        return written.markers
    return tuple(dict.fromkeys(filter(None, (written.start, written.end, *written.markers))))


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            home = tmp_path_factory.mktemp("models")
            known_by = "{# " + FAMILIES[name].template.replace("{{", "").replace("}}", "") + " #}"
            template = parrots.TEMPLATE.replace("<tool_call>", "<call>").replace("<think>", "<t>")
            folder = make_parrot(home / name, known_by + template, markers(name))
            made[name] = load(str(folder), home, trusts_code=True)
        return made[name]

    return get


def saying(name, text, **rest):
    said = script(text, markers(name))
    return Chat(
        turns=(Turn(role="user", content=said),),
        tools=TOOLS,
        thinking=Thinking(enabled=False),
        **rest,
    )


def text_of(name, called):
    written = FAMILIES[name]
    sections = written.sections(in_order(called))
    between = "\n" if name == "json_tools" else ""
    return between.join(f"{written.start}{section}{written.end}" for section in sections)


@families
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_what_is_called_arrives_and_no_marker_does(parrot, drive, name, mode):
    before = "Let me see. " if mode == "auto" else ""
    chat = saying(name, before + text_of(name, CALLS), tool_choice=ToolChoice(mode=mode))
    driver = drive(parrot(name))
    driver.run(receive(parrot(name), "r", chat, max_tokens=3000))
    assert [(call, json.loads(arguments)) for call, arguments in driver.calls("r")] == CALLS
    assert driver.text("r").strip() == before.strip()
    assert driver.last("r").reason == "tool_calls"


@families
def test_arguments_arrive_in_many_frames(parrot, drive, name):
    city = "word " * 30 + "end"
    chat = saying(name, text_of(name, [("get_weather", {"city": city})]))
    driver = drive(parrot(name))
    driver.run(receive(parrot(name), "r", chat, max_tokens=3000))
    deltas = [frame for frame in driver.frames["r"] if isinstance(frame, CallDelta)]
    assert len(deltas) > 30
    assert max(len(delta.arguments) for delta in deltas) < 40


@families
def test_an_answer_that_is_cut_off_in_a_call_still_tells_of_it(parrot, drive, name):
    chat = saying(name, text_of(name, CALLS[:1]))
    whole = receive(parrot(name), "whole", chat, max_tokens=3000)
    driver = drive(parrot(name))
    driver.run(whole)
    for part in (2, 4):
        request, most = f"cut{part}", whole.generated * (part - 1) // part
        driver.run(receive(parrot(name), request, chat, max_tokens=most))
        ((called, arguments),) = driver.calls(request)
        assert called in ("get_weather", UNREADABLE)
        assert driver.text(request) == ""
        end = driver.last(request)
        assert isinstance(end, End)
        assert end.reason == "length"
        # A character may be cut in two.
        assert driver.calls("whole")[0][1].startswith(arguments.rstrip("\ufffd"))


@families
def test_whatever_a_model_would_rather_say_it_calls_what_it_must(parrot, drive, name):
    """The parrot's words are no call; held to its tools it makes a valid one."""
    chat = saying(
        name, "I would rather not.", tool_choice=ToolChoice(mode="required", allowed=("now",))
    )
    driver = drive(parrot(name))
    wild = Sampling(temperature=1.0, seed=1)
    driver.run(receive(parrot(name), "r", chat, max_tokens=400, sampling=wild))
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    assert driver.calls("r")
    for called, arguments in driver.calls("r"):
        if driver.last("r").reason == "tool_calls":
            jsonschema.validate(json.loads(arguments), schemas[called])
    assert {called for called, _ in driver.calls("r")} <= {"now", UNREADABLE}
    assert driver.text("r") == ""
