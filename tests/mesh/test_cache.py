"""What was read once is not read again, and the numbers say exactly how much that was."""

from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from proto.ids import fresh
from tests.mesh.asking import TinyTokens, in_common

Turns = list[dict[str, str]]


@pytest.fixture
def tokens(tiny_model: Path) -> TinyTokens:
    return TinyTokens(tiny_model)


class Conversation:
    """Three turns whose answers are digits, so that a text has one tokenisation only."""

    def __init__(self, tokens: TinyTokens) -> None:
        # A beginning that nobody else has: what is found in the cache is of this conversation.
        self.turns: Turns = [{"role": "user", "content": f"{fresh()} begins"}]
        self.held: list[int] = []
        self._tokens = tokens

    @property
    def prompt(self) -> list[int]:
        return self._tokens.of_chat(self.turns)

    @property
    def known(self) -> int:
        """How many of the prompt's tokens earlier turns of this conversation have read."""
        return in_common(self.prompt, self.held)

    def hear(self, answer: str) -> None:
        self.held = self.prompt + self._tokens.of(answer)
        self.turns += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": f"and {len(self.turns)}?"},
        ]


@pytest.mark.parametrize("session", [True, False])
def test_three_turns_of_a_chat(gpt: openai.OpenAI, tokens: TinyTokens, session: bool) -> None:
    talk, extra = Conversation(tokens), {"session_id": fresh()} if session else {}
    template = _shared_by_all(gpt, tokens)
    for turn in range(3):
        answer = gpt.chat.completions.create(
            model="tiny", messages=talk.turns, max_tokens=9, temperature=0,
            logit_bias=tokens.digits_only(), extra_body=extra,
        )  # fmt: skip

        usage = answer.usage
        assert usage
        assert usage.prompt_tokens_details
        assert usage.prompt_tokens == len(talk.prompt)
        cached = usage.prompt_tokens_details.cached_tokens or 0
        assert (turn, cached) == (turn, talk.known if turn else min(cached, template + 4))
        talk.hear(answer.choices[0].message.content or "")


@pytest.mark.parametrize("session", ["body", "header", None])
def test_three_turns_of_messages(
    claude: anthropic.Anthropic, tokens: TinyTokens, session: str | None
) -> None:
    talk = Conversation(tokens)
    extra: dict[str, Any] = {"temperature": 0, "stop_sequences": ["\u2603"]}
    name = fresh()
    headers = {"X-Session-Id": name} if session == "header" else {}
    if session == "body":
        extra["session_id"] = name
    for turn in range(3):
        prompt = talk.prompt
        answer = claude.messages.create(
            model="tiny", messages=talk.turns, max_tokens=9, extra_body=extra,
            extra_headers=headers,
        )  # fmt: skip

        usage = answer.usage
        read = usage.cache_read_input_tokens or 0
        assert usage.input_tokens + read == len(prompt)
        assert (usage.cache_creation_input_tokens, usage.output_tokens) == (0, 9)
        if turn:
            assert read == talk.known
        # This dialect has no logit bias: turns of its own make the text certain.
        talk.held, talk.turns = prompt, [
            *talk.turns,
            {"role": "assistant", "content": "So be it."},
            {"role": "user", "content": f"and {turn}?"},
        ]  # fmt: skip


def test_a_stream_counts_the_same(gpt: openai.OpenAI, tokens: TinyTokens) -> None:
    talk = Conversation(tokens)
    asked: dict[str, Any] = {"model": "tiny", "messages": talk.turns, "max_tokens": 3}
    gpt.chat.completions.create(**asked)
    *_, last = gpt.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )

    assert last.usage
    assert last.usage.prompt_tokens_details
    assert last.usage.prompt_tokens_details.cached_tokens == len(talk.prompt) - 1


def test_another_conversation_finds_the_shared_beginning_only(
    gpt: openai.OpenAI, tokens: TinyTokens
) -> None:
    system = {"role": "system", "content": f"{fresh()} " + "Answer in verse. " * 10}
    first: Turns = [system, {"role": "user", "content": "Alpha?"}]
    second: Turns = [system, {"role": "user", "content": "Omega!"}]
    gpt.chat.completions.create(model="tiny", messages=first, max_tokens=5)

    usage = gpt.chat.completions.create(model="tiny", messages=second, max_tokens=5).usage

    shared = in_common(tokens.of_chat(first), tokens.of_chat(second))
    assert usage
    assert usage.prompt_tokens_details
    assert usage.prompt_tokens_details.cached_tokens == shared


def _as_claude_code(claude: anthropic.Anthropic, system: str, nonce: str) -> anthropic.types.Usage:
    """Asks under a line that is made anew with every request."""
    billing = f"x-anthropic-billing-header: cc_version=2.1.175.{nonce}; cch={nonce};"
    blocks: Any = [{"type": "text", "text": text} for text in (billing, system)]
    return claude.messages.create(
        model="tiny", max_tokens=2, system=blocks, messages=[{"role": "user", "content": "Alpha?"}]
    ).usage


def test_a_line_that_changes_with_every_request_costs_no_cache(
    claude: anthropic.Anthropic,
) -> None:
    system = f"{fresh()} " + "Answer in verse. " * 10
    first = _as_claude_code(claude, system, "a1b")
    second = _as_claude_code(claude, system, "0ff")

    whole = first.input_tokens + (first.cache_read_input_tokens or 0)
    assert second.input_tokens + (second.cache_read_input_tokens or 0) == whole
    # All but the last token, which has to be read again for the answer to begin.
    assert second.cache_read_input_tokens == whole - 1


def test_an_edited_history_is_read_again_from_the_edit(
    gpt: openai.OpenAI, tokens: TinyTokens
) -> None:
    name = fresh()
    first: Turns = [
        {"role": "user", "content": f"{name} one two three"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "five"},
    ]
    edited = [first[0], {"role": "assistant", "content": "FOUR"}, first[2]]
    extra = {"session_id": name}
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 2, "extra_body": extra}
    gpt.chat.completions.create(messages=first, **asked)

    usage = gpt.chat.completions.create(messages=edited, **asked).usage

    assert usage
    assert usage.prompt_tokens_details
    shared = in_common(tokens.of_chat(first), tokens.of_chat(edited))
    assert usage.prompt_tokens_details.cached_tokens == shared


def test_an_answer_from_the_cache_is_the_same_answer(http: httpx.Client) -> None:
    body = {
        "model": "tiny", "temperature": 0, "max_tokens": 40,
        "prompt": f"{fresh()} " + "a long way round " * 30,
    }  # fmt: skip
    cold, warm = (http.post("/v1/completions", json=body).json() for _ in range(2))

    assert warm["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
    assert warm["choices"][0]["text"] == cold["choices"][0]["text"]


def _shared_by_all(gpt: openai.OpenAI, tokens: TinyTokens) -> int:
    """Tokens with which every chat begins: the template's."""
    turns: Turns = [{"role": "user", "content": ""}]
    gpt.chat.completions.create(model="tiny", messages=turns, max_tokens=1)
    return in_common(tokens.of_chat(turns), tokens.of_chat([{"role": "user", "content": "x"}]))
