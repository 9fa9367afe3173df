"""Clients of one dialect at upstreams of the other, through the whole mesh, with vendors' own SDKs.

An OpenAI client asks an upstream that speaks Anthropic's Messages, an Anthropic client one that
speaks OpenAI's chat completions.
"""

import io
from base64 import b64encode
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any
from unittest.mock import patch

import anthropic
import httpx
import openai
import pytest

from ops import command
from tests.mesh.asking import posted
from tests.mesh.house import Mesh, until
from tests.unit.cloud import claude as claudes
from tests.unit.cloud.claude import KEY, SEALED, SIGNATURE, TEXT, THOUGHT, Claude
from tests.unit.cloud.upstream import Upstream

PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PDF = b64encode(b"%PDF-1.7 calm seas").decode()
SIGNED = {
    "type": "reasoning.text",
    "text": "".join(THOUGHT),
    "signature": SIGNATURE,
    "format": "anthropic-claude-v1",
    "index": 0,
}
HIDDEN = {
    "type": "reasoning.encrypted",
    "data": SEALED,
    "format": "anthropic-claude-v1",
    "index": 1,
}
WEATHER: Any = {"name": "weather", "parameters": {"type": "object"}}
OSLO = {"city": "Oslo"}
TOOLS: Any = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "clock"}},
]


@pytest.fixture(scope="module")
def messages() -> Iterator[Claude]:
    """The upstream that speaks Anthropic's."""
    with Claude.running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def completions() -> Iterator[Upstream]:
    """The upstream that speaks OpenAI's."""
    with Upstream.running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mesh(
    messages: Claude, completions: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    mesh = Mesh(
        tmp_path_factory.mktemp("dialects") / "home",
        [],
        {"ODYSSAI_UPSTREAMS": f"oa={completions.url}"},
        ["--only", "gateway,scheduler,cloud"],
    )
    mesh.wait_until_it_serves(["oa:some-model"])
    added = ["provider", "add", "an", "--kind", "anthropic", "--url", messages.url]
    with redirect_stdout(io.StringIO()) as said, patch("sys.stdin", io.StringIO(KEY)):
        assert command.main([*added, "--home", str(mesh.home)]) == 0, said.getvalue()
    until(lambda: "an:claude" in mesh.models(), what="an's models")
    yield mesh
    mesh.end()


@pytest.fixture
def claude(mesh: Mesh) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=mesh.url, api_key="ours", max_retries=0) as client:
        yield client


def chat(model: str = "claude", **asked: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "How is the sea?"}]
    return {"model": f"an:{model}", "messages": turns, **asked}


def test_its_models_are_listed_with_what_its_catalog_tells_of_them(mesh: Mesh) -> None:
    listed = mesh.models()
    card = httpx.get(f"{mesh.url}/v1/models/an:claude", trust_env=False).json()

    assert {f"an:{name}" for name in claudes.WAYS} - listed == {"an:gone"}
    assert card["x_odyssai"]["context_length"] == 200_000


def test_an_answer_comes_whole_with_the_upstream_s_numbers(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(**chat())

    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    assert answer.usage.completion_tokens_details
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 25)
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert answer.usage.completion_tokens_details.reasoning_tokens == 7


def test_an_answer_streams_piece_by_piece(gpt: openai.OpenAI) -> None:
    chunks = list(gpt.chat.completions.create(**chat(), stream=True))

    said = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert [piece for piece in said if piece] == list(claudes.PIECES)


def test_what_is_asked_arrives_in_the_upstream_s_words(
    gpt: openai.OpenAI, messages: Claude
) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    said: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind.", **mark}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "How is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {
                    "type": "file",
                    "file": {
                        "filename": "sea.pdf",
                        "file_data": f"data:application/pdf;base64,{PDF}",
                    },
                },
            ],
        },
    ]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = chat(
        messages=said, tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        reasoning_effort="high", stop=["END"], temperature=0.5, user="u1",
        response_format=wanted, service_tier="default",
    )  # fmt: skip
    gpt.chat.completions.create(**asked)

    assert messages.asked[-1] == {
        "path": "/v1/messages", "model": "claude", "max_tokens": 64_000, "stream": True,
        "system": [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "Be kind.", **mark},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "How is it?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                    {
                        "type": "document",
                        "title": "sea.pdf",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                    },
                ],
            }
        ],
        "tools": [
            {"name": "weather", "input_schema": {"type": "object"}},
            {"name": "clock", "input_schema": {"type": "object"}},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": schema}},
        "temperature": 0.5, "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
    }  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_tools_hands_signed_thoughts_back(
    gpt: openai.OpenAI, messages: Claude, stream: bool
) -> None:
    asked = chat("thoughtful", tools=TOOLS, reasoning_effort="low")
    if stream:
        with gpt.chat.completions.stream(**asked) as events:
            message: Any = events.get_final_completion().choices[0].message
    else:
        message = gpt.chat.completions.create(**asked).choices[0].message
    calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls]
    answers = [
        {"role": "tool", "tool_call_id": "toolu_01", "content": "Rain."},
        {"role": "tool", "tool_call_id": "toolu_02", "content": "Noon."},
    ]
    turns = [*asked["messages"], message.model_dump(exclude_none=True), *answers]
    for turn in turns:
        turn.pop("parsed", None)
        for call in turn.get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    gpt.chat.completions.create(**chat(messages=turns, tools=TOOLS))

    assert calls == [("toolu_01", "weather", '{"city":"Oslo"}'), ("toolu_02", "clock", "{}")]
    assert message.reasoning_content == "".join(THOUGHT)
    assert message.reasoning_details == [SIGNED, HIDDEN]
    assert messages.asked[-1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "".join(THOUGHT), "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": SEALED},
                {"type": "text", "text": "Let me see."},
                {
                    "type": "tool_use",
                    "id": "toolu_01",
                    "name": "weather",
                    "input": {"city": "Oslo"},
                },
                {"type": "tool_use", "id": "toolu_02", "name": "clock", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "Rain."},
                {"type": "tool_result", "tool_use_id": "toolu_02", "content": "Noon."},
            ],
        },
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_its_own_clients_see_its_blocks(claude: anthropic.Anthropic, stream: bool) -> None:
    asked = chat("thoughtful", max_tokens=9000, thinking={"type": "adaptive"})
    if stream:
        with claude.messages.stream(**asked) as events:
            answer = events.get_final_message()
    else:
        answer = claude.messages.create(**asked)

    thinking, sealed, words, *calls = [block.model_dump() for block in answer.content]
    assert (thinking["thinking"], thinking["signature"]) == ("".join(THOUGHT), SIGNATURE)
    assert sealed == {"type": "redacted_thinking", "data": SEALED}
    assert words["text"] == "Let me see."
    assert [call["input"] for call in calls] == [{"city": "Oslo"}, {}]
    assert answer.stop_reason == "tool_use"
    spent = answer.usage
    assert (spent.input_tokens, spent.cache_creation_input_tokens) == (4, 3)
    assert spent.cache_read_input_tokens == 2


@pytest.mark.parametrize(
    ("model", "reason", "ours"),
    [
        ("brief", "max_tokens", "length"),
        ("stopped", "stop_sequence", "stop"),
        ("prudish", "refusal", "content_filter"),
        ("full", "model_context_window_exceeded", "length"),
    ],
)
def test_why_an_answer_ended_is_told_in_either_dialect(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, model: str, reason: str, ours: str
) -> None:
    answer = claude.messages.create(**chat(model, max_tokens=20))

    assert answer.stop_reason == reason
    assert answer.stop_sequence == ("END" if model == "stopped" else None)
    assert gpt.chat.completions.create(**chat(model)).choices[0].finish_reason == ours


def test_an_older_model_is_given_a_budget_in_place_of_an_effort(
    gpt: openai.OpenAI, messages: Claude
) -> None:
    gpt.chat.completions.create(**chat("older", reasoning_effort="low", max_tokens=3000))

    asked = messages.asked[-1]
    assert asked["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "output_config" not in asked


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("seed", {"seed": 7}),
        ("temperature", {"temperature": 1.5}),
        ("logprobs", {"logprobs": True}),
        ("presence_penalty", {"presence_penalty": 1}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"colour": "blue"}}),
        ("service_tier", {"service_tier": "priority"}),
        (
            "messages",
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        ),
    ],
)
def test_what_the_upstream_has_no_word_for_is_refused_by_name(
    mesh: Mesh, messages: Claude, param: str, asked: dict[str, Any]
) -> None:
    before = len(messages.asked)
    answer = posted(mesh, "/v1/chat/completions", chat(**asked))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert len(messages.asked) == before


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("busy", 429, "slow down"),
        ("overloaded", 502, "Overloaded"),
        ("broken", 502, "out of order"),
        ("picky", 400, "too hot"),
        ("cut", 502, "broke off"),
        ("garbled", 502, "cannot be read"),
        ("sorry", 502, "Overloaded"),
    ],
)
def test_what_fails_has_its_status_in_either_dialect(
    mesh: Mesh, model: str, status: int, words: str
) -> None:
    ours = posted(mesh, "/v1/chat/completions", chat(model))
    own = posted(mesh, "/v1/messages", chat(model, max_tokens=20))

    assert (ours.status_code, own.status_code) == (status, status)
    assert words in ours.json()["error"]["message"]
    assert words in own.json()["error"]["message"]
    assert own.json()["type"] == "error"


@pytest.mark.parametrize("model", ["cut", "garbled", "sorry"])
def test_a_stream_that_breaks_ends_with_an_error_of_the_client_s_dialect(
    mesh: Mesh, model: str
) -> None:
    ours = posted(mesh, "/v1/chat/completions", chat(model, stream=True)).text
    own = posted(mesh, "/v1/messages", chat(model, stream=True, max_tokens=20)).text

    assert "Calm" in ours
    assert '"code":"upstream_error"' in ours.rstrip().splitlines()[-1]
    assert "Calm" in own
    assert own.rstrip().splitlines()[-2] == "event: error"


def test_who_leaves_leaves_the_upstream_too(claude: anthropic.Anthropic, messages: Claude) -> None:
    with claude.messages.stream(**chat("endless", max_tokens=900)) as stream:
        next(stream.text_stream)

    assert messages.left.wait(5)


def test_a_conversation_of_the_other_dialect_arrives_at_an_openai_upstream(
    claude: anthropic.Anthropic, completions: Upstream
) -> None:
    use = {"type": "tool_use", "id": "toolu_c1", "name": "look", "input": {"at": "sea"}}
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    }
    document = {
        "type": "document",
        "title": "sea.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    thought = {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_c1",
        "is_error": True,
        "content": [{"type": "text", "text": "Fog."}, picture],
    }
    asked: Any = {
        "model": "oa:some-model",
        "max_tokens": 9000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look."}, document]},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
        ],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    answer = claude.messages.create(**asked)

    assert answer.content[0].type == "text"
    said = completions.asked[-1]
    assert said["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                {
                    "type": "file",
                    "file": {
                        "filename": "sea.pdf",
                        "file_data": f"data:application/pdf;base64,{PDF}",
                    },
                },
            ],
        },
        {
            "role": "assistant",
            "content": "Yes.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at":"sea"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "The tool failed:\nFog."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What look returned:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {"role": "user", "content": "And?"},
    ]
    assert (said["reasoning_effort"], said["parallel_tool_calls"]) == ("low", False)
    assert said["max_tokens"] == 9000


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_an_openai_upstream_are_blocks_of_the_other_dialect(
    claude: anthropic.Anthropic, stream: bool
) -> None:
    asked: Any = chat(max_tokens=900) | {"model": "oa:caller"}
    if stream:
        with claude.messages.stream(**asked) as events:
            answer = events.get_final_message()
    else:
        answer = claude.messages.create(**asked)

    thinking, words, *calls = [block.model_dump() for block in answer.content]
    assert thinking["thinking"] == "Rain?"
    assert words["text"] == "Let me see."
    assert [(call["name"], call["input"]) for call in calls] == [
        ("weather", {"city": "Oslo"}), ("clock", {}),
    ]  # fmt: skip
    assert answer.stop_reason == "tool_use"
    assert answer.usage.output_tokens_details
    assert answer.usage.output_tokens_details.thinking_tokens == 2


def test_a_document_that_the_upstream_would_have_to_fetch_is_refused_by_name(
    mesh: Mesh, completions: Upstream
) -> None:
    before = len(completions.asked)
    document = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    asked = {
        "model": "oa:some-model",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": [document]}],
    }
    answer = posted(mesh, "/v1/messages", asked)

    assert answer.status_code == 400
    assert "fetches no documents" in answer.json()["error"]["message"]
    assert len(completions.asked) == before


def test_a_prompt_s_tokens_are_counted_by_the_upstream(
    claude: anthropic.Anthropic, messages: Claude
) -> None:
    thinking: Any = {"type": "adaptive"}
    said: Any = chat(system="Be brief.", thinking=thinking)

    assert claude.messages.count_tokens(**said).input_tokens == claudes.COUNT
    assert messages.asked[-1] == {
        "path": "/v1/messages/count_tokens",
        "model": "claude",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "How is the sea?"}]}],
        "thinking": thinking,
    }


def test_nobody_but_the_upstream_sees_its_key(mesh: Mesh, messages: Claude) -> None:
    assert {headers["x-api-key"] for headers in messages.headers} == {KEY}
    assert KEY not in mesh.said.text + mesh.logs()
