"""Random conversations from one dialect to the other and back: what both can say is not lost."""

from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proto.dialects.anthropic import asked_messages
from proto.dialects.asked import Asked
from proto.dialects.openai import asked_chat
from proto.errors import Code, MeshError
from proto.format import JsonSchema
from proto.generation import Generate
from proto.ids import GatewayId, RequestId
from proto.prompt import Chat, Part, TextPart, Turn, content_of
from services.cloud.anthropic.abilities import Abilities
from services.cloud.anthropic.body import body as anthropic_body
from services.cloud.openai.body import body as openai_body

QUICK = settings(max_examples=60, deadline=None)
ABLE = Abilities(efforts=frozenset({"low", "medium", "high", "xhigh"}), most_tokens=64_000)

WORDS = st.text('ab ☃\n"\\{', max_size=6).map(lambda words: f"w{words}w")
NAMES = st.sampled_from(["look", "weather", "clock-2"])
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "JVBERi0="
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
MARKS = st.sampled_from(
    [
        {},
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
)
SIGNATURES = st.sampled_from(["EqQB=", "sig+/2"])
INPUTS = st.dictionaries(st.sampled_from(["at", "n"]), st.integers(0, 9) | WORDS, max_size=2)


def marked(block: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda said, mark: said | ({"cache_control": mark} if mark else {}), block, MARKS
    )


def listed(*kinds: Any, least: int = 1, most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(*kinds), min_size=least, max_size=most)


def maybe(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


TEXTS = marked(st.builds(lambda words: {"type": "text", "text": words}, WORDS))


# Anthropic's dialect.

ADDRESSES = st.sampled_from(
    [
        {"type": "base64", "media_type": "application/pdf", "data": PDF},
        {"type": "url", "url": "https://x.example/y.pdf"},
        {"type": "file", "file_id": "file_1"},
    ]
)
PICTURES = marked(
    st.sampled_from(
        [
            {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
            {"type": "url", "url": "https://x.example/y.png"},
        ]
    ).map(lambda source: {"type": "image", "source": source})
)
DOCUMENTS = marked(
    st.builds(
        lambda source, title: {"type": "document", "source": source, "title": title},
        ADDRESSES,
        WORDS,
    )
)
THOUGHTS = st.lists(
    st.builds(
        lambda words, signature: {"type": "thinking", "thinking": words, "signature": signature},
        WORDS,
        SIGNATURES,
    )
    | st.just({"type": "redacted_thinking", "data": "sealed=="}),
    max_size=3,
)


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> list[dict[str, Any]]:
    """A question, an answer, and what tools that it called returned."""
    question = draw(WORDS | listed(TEXTS, PICTURES, DOCUMENTS))
    calls = [
        {"type": "tool_use", "id": f"c{number}-{at}", "name": name, "input": arguments}
        for at, (name, arguments) in enumerate(draw(st.lists(st.tuples(NAMES, INPUTS), max_size=2)))
    ]
    texts = draw(listed(TEXTS, least=0 if calls else 1, most=1))
    answer = [*draw(THOUGHTS), *texts, *calls]
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if not calls:
        return said
    results = [
        draw(marked(st.just({"type": "tool_result", "tool_use_id": call["id"]})))
        | {"content": draw(WORDS)}
        for call in calls
    ]
    more = draw(listed(TEXTS, PICTURES, least=0))
    return [*said, {"role": "user", "content": [*results, *more]}]


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    said = [draw(exchanges(number)) for number in range(draw(st.integers(0, 3)))]
    return [*chain.from_iterable(said), {"role": "user", "content": draw(WORDS)}]


TOOL = st.fixed_dictionaries(
    {"name": NAMES, "input_schema": st.just(SCHEMA)},
    optional={"description": WORDS, "strict": st.booleans()},
)
MESSAGES = st.builds(
    lambda plain, tools, choice: plain | ({"tools": tools, **choice} if tools else {}),
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": conversations(), "max_tokens": st.just(9000)},
        optional={
            "system": WORDS | listed(TEXTS),
            "temperature": st.floats(0, 1),
            "top_p": st.floats(0.1, 1),
            "top_k": st.integers(0, 50),
            "stop_sequences": listed(WORDS),
            "metadata": st.just({"user_id": "u"}),
            "service_tier": st.sampled_from(["auto", "standard_only"]),
            "thinking": st.sampled_from(
                [
                    {"type": "adaptive"},
                    {"type": "enabled", "budget_tokens": 2000},
                    {"type": "disabled"},
                ]
            ),
            "output_config": st.just({"format": {"type": "json_schema", "schema": SCHEMA}}),
        },
    ),
    st.lists(TOOL, max_size=2, unique_by=lambda tool: str(tool["name"])),
    maybe(
        tool_choice=st.builds(
            lambda kind, alone: {"type": kind, "disable_parallel_tool_use": alone},
            st.sampled_from(["auto", "any"]),
            st.booleans(),
        )
        | st.just({"type": "none"})
    ),
)


# OpenAI's dialect, with what OpenRouter adds.

SHOWN = marked(
    st.just({"type": "image_url", "image_url": {"url": PNG}})
    | st.sampled_from(
        [
            {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            {"filename": "a.pdf", "file_data": "https://x.example/y.pdf"},
            {"filename": "a.pdf", "file_id": "file_1"},
        ]
    ).map(lambda file: {"type": "file", "file": file})
)
DETAILS = st.lists(
    st.builds(
        lambda words, signature: {"type": "reasoning.text", "text": words, "signature": signature},
        WORDS,
        SIGNATURES,
    )
    | st.just({"type": "reasoning.encrypted", "data": "sealed=="}),
    max_size=3,
)


@st.composite
def turns(draw: st.DrawFn, number: int) -> list[dict[str, Any]]:
    question = {"role": "user", "content": draw(WORDS | listed(TEXTS, SHOWN))}
    calls = [
        {
            "id": f"call_{number}{at}",
            "type": "function",
            "function": {"name": name, "arguments": msgspec.json.encode(arguments).decode()},
        }
        for at, (name, arguments) in enumerate(draw(st.lists(st.tuples(NAMES, INPUTS), max_size=2)))
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": draw(WORDS)}
    if calls:
        answer |= {"tool_calls": calls, "content": draw(st.none() | WORDS)}
    if details := draw(DETAILS):
        answer["reasoning_details"] = details
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": draw(WORDS | listed(TEXTS, most=1))}
        for call in calls
    ]
    return [question, answer, *results]


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    systems = draw(
        st.lists(
            st.builds(
                lambda role, content: {"role": role, "content": content},
                st.sampled_from(["system", "developer"]),
                WORDS | listed(TEXTS),
            ),
            max_size=2,
        )
    )
    said = [draw(turns(number)) for number in range(draw(st.integers(0, 3)))]
    return [*systems, *chain.from_iterable(said), {"role": "user", "content": draw(WORDS)}]


FUNCTION = st.fixed_dictionaries(
    {"name": NAMES, "parameters": st.just(SCHEMA)},
    optional={"description": WORDS, "strict": st.booleans()},
)
CHATS = st.builds(
    lambda plain, tools, choice: plain | ({"tools": tools, **choice} if tools else {}),
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": chats(), "max_tokens": st.just(9000)},
        optional={
            "temperature": st.floats(0, 1),
            "top_p": st.floats(0.1, 1),
            "stop": listed(WORDS),
            "user": st.just("u"),
            "service_tier": st.sampled_from(["auto", "default"]),
            "reasoning_effort": st.sampled_from(["none", "low", "medium", "high", "xhigh"]),
            "response_format": st.just(
                {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                }
            ),
        },
    ),
    st.lists(
        FUNCTION.map(lambda function: {"type": "function", "function": function}),
        max_size=2,
        unique_by=lambda tool: str(tool["function"]["name"]),
    ),
    maybe(
        tool_choice=st.sampled_from(["auto", "required", "none"]), parallel_tool_calls=st.booleans()
    ),
)


def generate(asked: Asked) -> Generate:
    return asked.generate(0, RequestId("r"), GatewayId("g"), None)


def to_openai(asked: Asked) -> Asked:
    _, said = openai_body(generate(asked), "m", "max_tokens", "openrouter")
    return asked_chat(msgspec.json.encode(said))


def to_anthropic(asked: Asked) -> Asked:
    return asked_messages(msgspec.json.encode(anthropic_body(generate(asked), "m", ABLE)))


def meant(asked: Asked) -> tuple[Any, ...]:
    """What both dialects can say, in the form in which both say it: turns of one role in a row are
    one, an upstream that thinks is asked to by its effort alone, nobody names a schema.
    """
    chat = asked.prompts[0]
    assert isinstance(chat, Chat)
    thinking = (
        replace(chat.thinking, effort=None) if chat.thinking.enabled is False else chat.thinking
    )
    if thinking.effort or thinking.budget_tokens:
        thinking = replace(thinking, enabled=None)
    choice = chat.tool_choice
    chat = replace(
        chat,
        turns=tuple(joined(chat.turns)),
        thinking=thinking,
        tool_choice=replace(choice, parallel=choice.parallel or choice.mode == "none"),
    )
    wanted = asked.format
    if isinstance(wanted, JsonSchema):
        wanted = replace(wanted, name="")
    return chat, asked.sampling, asked.stop, asked.max_tokens, asked.user, asked.tier, wanted


def joined(said: tuple[Turn, ...]) -> list[Turn]:
    found: list[Turn] = []
    for turn in said:
        if found and found[-1].role == turn.role and turn.role in ("system", "user"):
            parts = [*parts_of(found[-1]), *parts_of(turn)]
            found[-1] = replace(turn, content=content_of(parts))
        else:
            found.append(turn)
    return found


def parts_of(turn: Turn) -> tuple[Part, ...]:
    return (TextPart(text=turn.content),) if isinstance(turn.content, str) else turn.content


@QUICK
@given(MESSAGES)
def test_from_anthropic_s_dialect_to_openai_s_and_back(said: dict[str, Any]) -> None:
    asked = asked_messages(msgspec.json.encode(said))

    there = to_openai(asked)

    assert meant(there) == meant(asked)
    assert meant(to_anthropic(there)) == meant(asked)


@QUICK
@given(CHATS)
def test_from_openai_s_dialect_to_anthropic_s_and_back(said: dict[str, Any]) -> None:
    asked = asked_chat(msgspec.json.encode(said))

    there = to_anthropic(asked)

    assert meant(there) == meant(asked)
    assert meant(to_openai(there)) == meant(asked)


REFUSED: list[tuple[str, Any]] = [
    ("seed", 7),
    ("min_p", 0.1),
    ("presence_penalty", 1),
    ("frequency_penalty", -1),
    ("repetition_penalty", 1.1),
    ("logit_bias", {"5": 1}),
    ("logit_bias", {"word": 1}),
    ("logprobs", True),
    ("temperature", 1.5),
    ("response_format", {"type": "json_object"}),
    ("response_format", {"type": "regex", "pattern": "a"}),
    ("response_format", {"type": "grammar", "grammar": "start: 'a'"}),
    ("chat_template_kwargs", {"colour": "blue"}),
    ("service_tier", "priority"),
    ("thinking_budget", 500),
]


@settings(max_examples=5, deadline=None)
@given(said=CHATS)
@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_what_anthropic_s_protocol_cannot_say_is_refused_by_name(
    field: str, value: Any, said: dict[str, Any]
) -> None:
    said = {name: told for name, told in said.items() if name != "reasoning_effort"}
    asked = asked_chat(msgspec.json.encode(said | {field: value}))

    with pytest.raises(MeshError) as refused:
        to_anthropic(asked)

    assert (refused.value.code, refused.value.param) == (Code.UNSUPPORTED_PARAMETER, field)


def test_an_answer_that_is_begun_is_refused_by_who_does_not_go_on_from_it() -> None:
    begun = {"role": "assistant", "content": "Cal"}
    said = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}, begun]}
    asked = generate(asked_messages(msgspec.json.encode(said)))

    with pytest.raises(MeshError) as refused:
        openai_body(asked, "m", "max_tokens", "openai")

    assert refused.value.param == "messages"
    assert anthropic_body(asked, "m")["messages"][-1]["content"][0]["text"] == "Cal"


def test_an_instruction_in_between_is_one_in_either_protocol() -> None:
    turns = [("user", "a"), ("assistant", "b"), ("system", "Be brief."), ("user", "c")]
    said = {"model": "m", "messages": [{"role": role, "content": text} for role, text in turns]}
    asked = generate(asked_chat(msgspec.json.encode(said)))

    told = anthropic_body(asked, "m")["messages"]

    assert [message["role"] for message in told] == [role for role, _ in turns]
    assert openai_body(asked, "m", "max_tokens")[1]["messages"] == said["messages"]
