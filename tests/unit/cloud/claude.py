"""A server on loopback that speaks Anthropic's Messages, well or badly as its models' names say.

https://platform.claude.com/docs/en/api/messages and .../build-with-claude/streaming
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.cloud import whole
from tests.unit.cloud.loopback import WAIT_S, Loopback, Speaker

KEY = "sk-ant-upstream-key-0123456789"
PIECES = ("Calm", " seas", ", and", " a ☃", ".")
TEXT = "".join(PIECES)
THOUGHT = ("The sea", " is wide.")
SIGNATURE = "EqQBCkYIBRgC/signed+by=them"
SEALED = "EroGCkYIBRgCKkA/sealed=="
STARTED = {
    "input_tokens": 4,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 2,
    "output_tokens": 1,
}
ENDED = {"output_tokens": 25, "output_tokens_details": {"thinking_tokens": 7}}
COUNT = 1234
PAGE = 2
"""Models of a page of its catalog."""


class Claude(Loopback):
    """What it was asked, and when a client left it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        upstream = self

        class Handler(Speaker):
            def got(self) -> None:
                if self._is_known():
                    self.answer(200, catalog(parse_qs(urlsplit(self.path).query)))

            def asked(self, content: bytes) -> None:
                body = json.loads(content)
                if not self._is_known():
                    return
                upstream.asked.append(body | {"path": self.path})
                self.hear(body)
                if self.path.endswith("/count_tokens"):
                    self.answer(200, {"input_tokens": COUNT})
                    return
                WAYS.get(body["model"], absent)(self, upstream)
                self.finish_whole(whole.anthropic)

            def _is_known(self) -> bool:
                told = {name.lower(): value for name, value in self.headers.items()}
                upstream.headers.append(told)
                if told.get("anthropic-version", "") < "2023-06-01":
                    self.refuse(400, "invalid_request_error", "anthropic-version: required")
                elif told.get("x-api-key") != KEY:
                    self.refuse(401, "authentication_error", "invalid x-api-key")
                else:
                    return True
                return False

            def refuse(self, status: int, kind: str, message: str, **headers: str) -> None:
                error = {"type": kind, "message": message}
                body = {"type": "error", "error": error, "request_id": "req_1"}
                self.answer(status, body, **headers)

            def begin(self) -> None:
                super().begin()
                message = {
                    "id": "msg_1", "type": "message", "role": "assistant", "content": [],
                    "model": "m", "stop_reason": None, "stop_sequence": None, "usage": STARTED,
                }  # fmt: skip
                self.event("message_start", message=message)
                self.event("ping")

            def block(self, index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> None:
                self.event("content_block_start", index=index, content_block=block)
                for delta in deltas:
                    self.event("content_block_delta", index=index, delta=delta)
                self.event("content_block_stop", index=index)

            def end(self, reason: str, stop: str | None = None) -> None:
                told = {"stop_reason": reason, "stop_sequence": stop}
                self.event("message_delta", delta=told, usage=ENDED)
                self.event("message_stop")

            def event(self, kind: str, **told: Any) -> None:
                self.raw(f"event: {kind}\ndata: {json.dumps({'type': kind, **told})}\n\n")

        super().__init__(Handler)


def catalog(asked: dict[str, list[str]]) -> dict[str, Any]:
    """In pages, whatever their size was asked to be."""
    after = asked.get("after_id", [""])[0]
    names = list(WAYS)
    start = names.index(after) + 1 if after else 0
    page = names[start : start + PAGE]
    return {
        "data": [model(name) for name in page],
        "first_id": page[0],
        "last_id": page[-1],
        "has_more": start + PAGE < len(names),
    }


def model(name: str) -> dict[str, Any]:
    def can(does: bool) -> dict[str, bool]:
        return {"supported": does}

    is_older = name == "older"
    levels = {level: can(not is_older) for level in ("low", "medium", "high", "max", "xhigh")}
    return {
        "type": "model",
        "id": name,
        "display_name": name.title(),
        "created_at": "2026-02-17T00:00:00Z",
        "lifecycle": "retired" if name == "gone" else "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": {
            "image_input": can(True),
            "pdf_input": can(True),
            "structured_outputs": can(True),
            "thinking": {
                "supported": True,
                "types": {"adaptive": can(not is_older), "enabled": can(is_older)},
            },
            "effort": {"supported": not is_older, **levels},
        },
    }


def text(words: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": words}


def fluent(client: Any, _: Claude) -> None:
    client.begin()
    client.block(0, {"type": "text", "text": ""}, *map(text, PIECES))
    client.end("end_turn")


def thoughtful(client: Any, _: Claude) -> None:
    """Thinks, in the open and sealed, speaks, and calls twice: once without any argument."""
    client.begin()
    thinking = [{"type": "thinking_delta", "thinking": piece} for piece in THOUGHT]
    signed = {"type": "signature_delta", "signature": SIGNATURE}
    client.block(0, {"type": "thinking", "thinking": "", "signature": ""}, *thinking, signed)
    client.block(1, {"type": "redacted_thinking", "data": SEALED})
    client.block(2, {"type": "text", "text": ""}, text("Let me see."))
    pieces = [{"type": "input_json_delta", "partial_json": p} for p in ("", '{"city":', '"Oslo"}')]
    client.block(3, {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {}}, *pieces)
    client.block(4, {"type": "tool_use", "id": "toolu_02", "name": "clock", "input": {}})
    client.end("tool_use")


def ending(reason: str, stop: str | None = None) -> Callable[[Any, Claude], None]:
    def answer(client: Any, _: Claude) -> None:
        client.begin()
        client.block(0, {"type": "text", "text": ""}, text("Calm"))
        client.end(reason, stop)

    return answer


def endless(client: Any, upstream: Claude) -> None:
    client.begin()
    client.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    with suppress(OSError):
        while not upstream.left.wait(WAIT_S):
            client.event("content_block_delta", index=0, delta=text("more "))
    upstream.left.set()


def _calm(client: Any) -> None:
    client.begin()
    client.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    client.event("content_block_delta", index=0, delta=text("Calm"))


def cut(client: Any, _: Claude) -> None:
    _calm(client)


def garbled(client: Any, _: Claude) -> None:
    _calm(client)
    client.raw("event: content_block_delta\ndata: {nonsense\n\n")


def sorry(client: Any, _: Claude) -> None:
    _calm(client)
    client.event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def absent(client: Any, _: Claude) -> None:
    client.refuse(404, "not_found_error", "no such model upstream")


def busy(client: Any, _: Claude) -> None:
    client.refuse(429, "rate_limit_error", "slow down", retry_after="7")


WAYS: dict[str, Callable[[Any, Claude], None]] = {
    "claude": fluent,
    "thoughtful": thoughtful,
    "older": fluent,
    "brief": ending("max_tokens"),
    "stopped": ending("stop_sequence", "END"),
    "prudish": ending("refusal"),
    "full": ending("model_context_window_exceeded"),
    "endless": endless,
    "cut": cut,
    "garbled": garbled,
    "sorry": sorry,
    "busy": busy,
    "overloaded": lambda client, _: client.refuse(529, "overloaded_error", "Overloaded"),
    "broken": lambda client, _: client.refuse(500, "api_error", "out of order"),
    "picky": lambda client, _: client.refuse(400, "invalid_request_error", "too hot"),
    "gone": absent,
}
