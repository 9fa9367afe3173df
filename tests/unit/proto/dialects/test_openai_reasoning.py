import json

import pytest

from proto.dialects.openai import asked_chat
from proto.errors import MeshError
from proto.prompt import Thinking


def ask(**fields):
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return asked_chat(json.dumps(said | fields).encode())


def refused(**fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        ask(**fields)
    return caught.value


OFF = Thinking(enabled=False, effort="none")


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, Thinking()),
        ({"reasoning_effort": "low"}, Thinking(effort="low")),
        ({"reasoning_effort": "max"}, Thinking(effort="xhigh")),
        ({"reasoning_effort": "none"}, OFF),
        ({"enable_thinking": True}, Thinking(enabled=True)),
        ({"enable_thinking": False}, Thinking(enabled=False)),
        ({"thinking_budget": 9}, Thinking(budget_tokens=9)),
        ({"thinking_budget": 0}, OFF),
        ({"reasoning": {"effort": "high"}}, Thinking(effort="high")),
        ({"reasoning": {"max_tokens": 7, "enabled": True}},
         Thinking(enabled=True, budget_tokens=7)),
        ({"reasoning": {"enabled": False}}, Thinking(enabled=False)),
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        ({"thinking": {"type": "auto"}}, Thinking()),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}},
         Thinking(enabled=True, budget_tokens=5)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, Thinking(enabled=False)),
        ({"chat_template_kwargs": {"thinking": True}}, Thinking(enabled=True)),
        ({"chat_template_kwargs": {"reasoning_effort": "low", "thinking_budget": 3}},
         Thinking(effort="low", budget_tokens=3)),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, OFF),
        ({"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}},
         Thinking(enabled=False)),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high", "max_tokens": 2}},
         Thinking(effort="low", budget_tokens=2)),
    ],
)  # fmt: skip
def test_every_way_to_steer_thinking_comes_down_to_one(fields, thinking):
    assert ask(**fields).prompts[0].thinking == thinking


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"enable_thinking": True, "reasoning_effort": "none"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking_budget"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"thinking_budget": -1}, "thinking_budget"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"chat_template_kwargs": {"enable_thinking": "yes"}},
         "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"chat_template": "{{ x }}"}},
         "chat_template_kwargs.chat_template"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_place(fields, place):
    error = refused(**fields)

    assert error.param == place
    assert error.message


def test_what_only_the_template_knows_is_passed_on():
    options = {"enable_thinking": True, "documents": [{"text": "x"}], "thinking": True}

    assert ask(chat_template_kwargs=options).prompts[0].template_options == {
        "documents": [{"text": "x"}],
        "thinking": True,
    }


@pytest.mark.parametrize("fields", [{"reasoning": {"exclude": True}}, {"include_reasoning": False}])
def test_what_was_thought_may_be_left_out_of_the_answer(fields):
    assert not ask(**fields).shows_reasoning
    assert ask().shows_reasoning
