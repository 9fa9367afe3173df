import json

import pytest

from proto.dialects.anthropic import asked_count, asked_messages, envelope
from proto.errors import Code, MeshError
from proto.inference import Chat, Sampling, Turn


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


def test_blocks_are_joined_and_cache_markers_accepted():
    block = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    asked = messages(messages=[{"role": "user", "content": [block, block]}])

    assert asked.prompts[0].turns[0].content == "a\na"


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
        {"thinking": {"type": "disabled"}},
        {"service_tier": "auto", "speed": "standard", "inference_geo": "eu"},
        {"cache_control": {"type": "ephemeral"}},
    ],
)
def test_what_has_no_effect_or_stays_at_its_off_value_is_accepted(fields):
    assert messages(**fields) == messages()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"name": "f", "input_schema": {}}]),
        ("tool_choice", {"type": "any"}),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}),
        ("thinking", {"budget_tokens": 1024, "type": "enabled"}),
        ("output_config", {"effort": "low"}),
        ("mcp_servers", [{"url": "x"}]),
        ("container", "c"),
        ("messages", [{"role": "user", "content": [{"type": "image", "source": {}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]),
        ("system", [{"type": "image"}]),
    ],
)
def test_what_cannot_be_honoured_yet_is_refused_by_name(name, value):
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
