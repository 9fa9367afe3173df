"""Whose conversation a request belongs to."""

import json

import pytest

from proto.dialects.asked import Asked
from proto.prompt import Text
from services.gateway.session import in_session
from tests.unit.gateway.scripted import MODEL

UUID = "57a121ec-f78c-48c3-a745-e3036a3ecc33"
HI = [{"role": "user", "content": "Hi"}]


def session(headers: dict[str, str] | None = None, body: str | None = None):
    asked = Asked(model="m", prompts=(Text(text="x"),), session=body)
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    return in_session(asked, raw).session


def test_nobody_names_one():
    assert session() is None
    assert session({"x-session-id": " "}) is None


@pytest.mark.parametrize(
    "header",
    [
        "x-session-id", "x-claude-code-session-id", "thread-id", "thread_id", "session-id",
        "session_id", "conversation_id", "x-opencode-session", "x-session-affinity",
    ],
)  # fmt: skip
def test_a_header_of_ours_or_of_a_known_client_names_it(header):
    assert session({header: UUID}, body="other") == UUID


def test_the_most_explicit_name_wins():
    everything = {
        "x-session-affinity": "e", "session-id": "d", "thread-id": "c",
        "x-claude-code-session-id": "b", "x-session-id": "a",
    }  # fmt: skip
    order = []
    while everything:
        order.append(session(everything))
        del everything[next(name for name, value in everything.items() if value == order[-1])]

    assert order == ["a", "b", "c", "d", "e"]


def test_each_subagent_has_a_conversation_of_its_own():
    headers = {"x-claude-code-session-id": UUID, "x-claude-code-agent-id": "a1"}

    assert session(headers) == f"{UUID}/a1"
    assert session({"x-claude-code-agent-id": "a1"}) is None


@pytest.mark.parametrize(
    "user",
    [
        f"user_0784b260_account__session_{UUID}",
        f"user_0784b260_account_261d5434-c8c2-431f-b07d-2e480cd4622f_session_{UUID}",
        json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID}),
    ],
)
def test_the_session_is_taken_out_of_what_claude_code_calls_its_user(user):
    assert session(body=user) == UUID


@pytest.mark.parametrize("name", ["u", "my_session_1", '{"session_id": 5}', "{", '{"a": "b"}'])
def test_any_other_name_is_what_it_is(name):
    assert session(body=name) == name


async def test_claude_codes_requests_are_told_apart(anthropic, scripted, events):
    user = json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID})
    asked = {"model": MODEL, "max_tokens": 9, "messages": HI}
    await anthropic.messages.create(**asked, metadata={"user_id": user})
    await anthropic.messages.create(**asked, extra_headers={"X-Claude-Code-Session-Id": "s2"})

    assert [request.session for request in scripted.asked] == [UUID, "s2"]
    assert (await events.get()).session == UUID


async def test_a_header_with_an_underscore_arrives(openai, scripted):
    """As Codex sent it; some servers drop such headers."""
    await openai.chat.completions.create(
        model=MODEL, messages=HI, prompt_cache_key="k", extra_headers={"session_id": "s"}
    )
    await openai.chat.completions.create(model=MODEL, messages=HI, prompt_cache_key="k")

    assert [request.session for request in scripted.asked] == ["s", "k"]
