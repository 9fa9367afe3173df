import json

import pytest

from proto.dialects.anthropic import asked_count, asked_messages, envelope
from proto.errors import Code, MeshError
from proto.format import JsonSchema
from proto.generation import Sampling
from proto.prefix import prefixes_of
from proto.prompt import Chat, TextPart, Thinking, Turn


def messages(**fields):
    said = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    return asked_messages(json.dumps(said | fields).encode())


def refused(**fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        messages(**fields)
    return caught.value


def test_the_least_a_client_can_send_is_understood():
    asked = messages()

    assert asked.prompts == (Chat(turns=(Turn(role="user", content="Hi"),)),)
    assert (asked.max_tokens, asked.sampling) == (9, Sampling())


def test_max_tokens_is_required():
    with pytest.raises(MeshError) as caught:
        asked_messages(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')

    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_the_system_prompt_comes_first_as_string_or_blocks(system):
    assert messages(system=system).prompts[0].turns[0] == Turn(role="system", content="Be brief.")


def test_blocks_are_joined_up_to_a_cache_mark():
    plain = {"type": "text", "text": "a"}
    block = plain | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}

    asked = messages(messages=[{"role": "user", "content": [plain, block, plain]}])

    chat = asked.prompts[0]
    assert chat.turns[0].content == (TextPart(text="a\na", cache="1h"), TextPart(text="a"))
    assert chat.turns[0].text == "a\na\na"


def test_marks_change_nothing_that_an_engine_reads_or_knows_a_prompt_by():
    marker = {"cache_control": {"type": "ephemeral"}}
    said = {"type": "text", "text": "a"}
    tool = {"name": "t", "input_schema": {"type": "object"}}
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}

    def asked(marks, signature):
        return messages(
            system=[said | marks, said],
            tools=[tool | marks],
            messages=[
                {"role": "user", "content": [said, said | marks]},
                {"role": "assistant", "content": [signed | {"signature": signature}, said | marks]},
                {"role": "user", "content": "b"},
            ],
            **marks,
        ).prompts[0]

    plain, marked = asked({}, None), asked(marker, "EqQB")

    assert marked != plain
    assert marked.unmarked() == plain
    assert prefixes_of(marked) == prefixes_of(plain)


def test_who_asks_and_the_tier_go_along_for_upstreams():
    asked = messages(metadata={"user_id": "u"}, service_tier="standard_only")

    assert (asked.user, asked.tier) == ("u", "standard")


def test_a_last_turn_of_the_assistant_is_continued():
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "He"}]

    assert messages(messages=said).prompts[0].continues_last
    assert not messages().prompts[0].continues_last


def test_turns_of_one_role_in_a_row_are_one():
    said = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]

    assert messages(messages=said).prompts[0].turns == (Turn(role="user", content="a\nb"),)


def test_sampling_and_stops_arrive():
    asked = messages(temperature=0.2, top_p=0.9, top_k=5, stop_sequences=["a"] * 6, stream=True)

    assert asked.sampling == Sampling(temperature=0.2, top_p=0.9, top_k=5)
    assert (asked.stop, asked.stream) == (("a",) * 6, True)


def test_the_session_is_named_by_the_body_or_its_metadata():
    assert messages(metadata={"user_id": "u"}).session == "u"
    assert messages(metadata={"user_id": "u"}, session_id="s").session == "s"
    assert messages().session is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tool_choice": {"type": "auto"}},
        {"speed": "standard", "inference_geo": "eu"},
        {"context_management": {"edits": []}, "mcp_servers": [], "container": None},
        {"output_config": {}},
        {"user_profile_id": "u", "workspace_id": "w"},
    ],
)
def test_what_has_no_effect_or_stays_at_its_off_value_is_accepted(fields):
    assert messages(**fields) == messages()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (
            {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
            "context_management",
        ),
        ({"diagnostics": {"previous_message_id": "msg_1"}}, "diagnostics"),
        ({"speed": "fast"}, "speed"),
        ({"fallbacks": [{"model": "other"}]}, "fallbacks"),
        ({"output_config": {"task_budget": {"tokens": 5}}}, "output_config.task_budget"),
        (
            {"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]},
            "tools.defer_loading",
        ),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
            "output_config.effort",
        ),
    ],
)
def test_what_is_taken_without_effect_is_told(fields, name):
    assert messages(**fields).ignored == (name,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Thinking()),
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, Thinking(enabled=True)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            Thinking(enabled=True, budget_tokens=1024),
        ),
        ({"output_config": {"effort": "medium"}}, Thinking(effort="medium")),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Thinking(enabled=True, effort="xhigh"),
        ),
    ],
)
def test_thinking_arrives_as_it_is_wished(fields, expected):
    assert messages(max_tokens=2000, **fields).prompts[0].thinking == expected


def test_thinking_may_be_kept_from_the_client():
    thinking = {"type": "adaptive", "display": "omitted"}

    assert not messages(thinking=thinking).shows_reasoning
    assert messages(thinking=thinking | {"display": "summarized"}).shows_reasoning


def test_thinking_needs_room_beside_the_answer():
    error = refused(thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=2000)

    assert error.param == "thinking.budget_tokens"
    assert "2000" in error.message


def test_an_answer_that_is_begun_cannot_be_thought_about_first():
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "He"}]
    thinking = {"type": "enabled", "budget_tokens": 1024}

    assert refused(messages=said, thinking=thinking, max_tokens=2000).param == "thinking"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_a_format_is_a_schema_under_its_new_name_or_its_old(fields):
    assert messages(**fields).format == JsonSchema(schema=SCHEMA, strict=True)


def test_two_formats_that_differ_are_refused():
    said = {"type": "json_schema", "schema": SCHEMA}

    both = {"output_config": {"format": said}, "output_format": said | {"schema": {}}}
    assert refused(**both).param == "output_format"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thinking", {"type": "between_tools"}),
        ("mcp_servers", [{"url": "x"}]),
        ("container", "c"),
        ("thread", {"id": "t"}),
        ("compaction", {"type": "summarize"}),
        ("context_management", {"edits": [{"type": "compact_20260112"}]}),
        ("output_config", {"format": {"type": "xml"}}),
        ("messages", [{"role": "user", "content": [{"type": "container_upload"}]}]),
        ("messages", [{"role": "developer", "content": "x"}]),
        ("system", [{"type": "image"}]),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(name, value):
    error = refused(**{name: value})

    assert error.code is Code.UNSUPPORTED_PARAMETER
    assert error.param.startswith(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 1.1),
        ("top_p", -0.1),
        ("top_k", -1),
        ("max_tokens", 0),
        ("stop_sequences", [""]),
        ("messages", []),
        ("messages", [{"role": "user", "content": ""}]),
        ("model", ""),
        ("frequency_penalty", 1),
        ("thinking", {"type": "enabled", "budget_tokens": 1023}),
        ("thinking", {"type": "enabled"}),
        ("tool_choice", {"type": "some"}),
        ("tool_choice", {"type": "any"}),
        ("output_config", {"effort": "giant"}),
        ("messages", [{"role": "system", "content": "Only this."}]),
        ("messages", [{"role": "assistant", "content": ""}]),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_field(name, value):
    error = refused(**{name: value})

    assert error.code is Code.INVALID_REQUEST
    assert error.param.startswith(name)


def test_counting_takes_the_same_conversation_and_no_max_tokens():
    body = {"model": "m", "system": "S", "messages": [{"role": "user", "content": "Hi"}]}

    question = asked_count(json.dumps(body).encode())

    assert [turn.role for turn in question.prompt.turns] == ["system", "user"]


def test_counting_takes_all_that_the_prompt_is_made_of():
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "output_config": {"effort": "high"},
        "context_management": {"edits": []},
    }

    prompt = asked_count(json.dumps(body).encode()).prompt

    assert [tool.name for tool in prompt.tools] == ["f"]
    assert prompt.thinking == Thinking(enabled=True, effort="high", budget_tokens=5000)


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_agents_know():
    body = json.loads(envelope(MeshError(Code.CONTEXT_OVERFLOW, "9 tokens, 8 fit."), "req"))

    assert body["error"]["message"] == "prompt is too long: 9 tokens, 8 fit."


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Code.INVALID_REQUEST, "invalid_request_error"),
        (Code.UNAUTHORIZED, "authentication_error"),
        (Code.MODEL_NOT_FOUND, "not_found_error"),
        (Code.TOO_LARGE, "request_too_large"),
        (Code.QUEUE_FULL, "rate_limit_error"),
        (Code.INTERNAL, "api_error"),
        (Code.ENGINE_LOST, "api_error"),
        (Code.NO_ENGINE, "overloaded_error"),
        (Code.DEADLINE, "timeout_error"),
    ],
)
def test_errors_wear_the_vendors_envelope(code, word):
    body = json.loads(envelope(MeshError(code, "Why."), "req"))

    problem = {"type": word, "message": "Why."}
    assert body == {"type": "error", "error": problem, "request_id": "req"}
