"""A server on loopback that speaks OpenAI's protocol, well or badly as its models' names say."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.unit.cloud import whole
from tests.unit.cloud.loopback import WAIT_S, Loopback, Speaker

PIECES = ("Calm", " seas", ", and", " a ☃", ".")
TEXT = "".join(PIECES)
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}
SHAKES = 2
SPENT = "spent-key"
SLOW_S = 1.0
FLOOD = 2000
"""Pieces of a kilobyte."""
FLOOD_S = 0.001
"""Between two of them."""


class Upstream(Loopback):
    """What it was asked, and when a client left it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.accepted: set[str] | None = None
        """Keys that open it; None: it asks for none."""
        self.has_public_catalog = False
        """Told whatever key is shown, as OpenRouter's is."""
        self.may_tell = threading.Event()
        """Cleared while its catalog lets people wait."""
        self.may_tell.set()
        self.may_end = threading.Event()
        self.failed = 0
        """Times in a row."""
        upstream = self

        class Handler(Speaker):
            def got(self) -> None:
                upstream.keys.append(self.headers["authorization"])
                upstream.may_tell.wait(30)
                is_public = upstream.has_public_catalog and self.path.endswith("/models")
                if not is_public and self._is_shut():
                    return
                self.answer(200, {"data": [{"id": name} for name in (*WAYS, "org/absent")]})

            def asked(self, content: bytes) -> None:
                upstream.bodies.append(content)
                body = json.loads(content)
                upstream.asked.append(body | {"path": self.path})
                if self._is_shut():
                    return
                self.hear(body)
                self._is_chat = self.path.endswith("/chat/completions")
                reads = READERS.get(self.path.removeprefix("/v1"))
                if reads is not None and body["model"] in READING:
                    self.answer(200, reads(body))
                else:
                    WAYS.get(body["model"], absent)(self, upstream)
                    self.finish_whole(whole.openai)

            def _is_shut(self) -> bool:
                """Refuses a key that it does not know, and repeats it, as some do."""
                key = (self.headers["authorization"] or "").removeprefix("Bearer ")
                if upstream.accepted is None or key in upstream.accepted:
                    return False
                self.refuse(401, f"Incorrect API key provided: {key}")
                return True

            def refuse(self, status: int, message: str, **headers: str) -> None:
                error = {"message": message, "param": "temperature", "code": "x"}
                self.answer(status, {"error": error}, **headers)

            def say(self, text: str | None = None, reason: str | None = None) -> None:
                told = {"delta": {"content": text}} if self._is_chat else {"text": text or ""}
                self.event({"choices": [{"index": 0, **told, "finish_reason": reason}]})

            def delta(self, **told: Any) -> None:
                self.event({"choices": [{"index": 0, "delta": told, "finish_reason": None}]})

            def event(self, body: Any) -> None:
                self.raw(f"data: {json.dumps(body)}\n\n")

        super().__init__(Handler)


def embedding(body: dict[str, Any]) -> dict[str, Any]:
    """The length of each text; not in order, which is the index's matter."""
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 0.5]}
        for index, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}


def ranking(body: dict[str, Any]) -> dict[str, Any]:
    scored = [(len(text) / 10, index) for index, text in enumerate(body["documents"])]
    results = [{"index": index, "relevance_score": s} for s, index in sorted(scored)[::-1]]
    return {"results": results, "meta": {"tokens": {"input_tokens": 8}}}


READERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/embeddings": embedding,
    "/rerank": ranking,
}
READING = ("some-model",)


def fluent(client: Any, _: Upstream) -> None:
    client.begin()
    client.raw(": OPENROUTER PROCESSING\n\n")
    for piece in PIECES:
        client.say(piece)
    client.say(reason="stop")
    client.event({"choices": [], "usage": USAGE})
    client.raw("data: [DONE]\n\n")


NOVEL = """\
: a word of its own

event: fresh
data: {"object": "tomorrow", "choices": {"not": "a list"}, "half": 0.50}

data: {"choices": [{"index": 0, "delta": {"content": "Calm"}, "mood": "\\u2603"}]}\r
\r
data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"of": 3}}

data: [DONE]

"""


def novel(client: Any, _: Upstream) -> None:
    """In a version that nobody here knows."""
    client.begin()
    client.raw(NOVEL)


def brief(client: Any, _: Upstream) -> None:
    """Ended by its limit, and says nothing of usage."""
    client.begin()
    client.say("Calm")
    client.say(reason="length")
    client.raw("data: [DONE]\n\n")


def caller(client: Any, _: Upstream) -> None:
    """Thinks, speaks, and calls twice, as OpenAI's models do."""
    client.begin()
    client.delta(role="assistant", content=None)
    client.delta(reasoning_content="Rain?")
    client.delta(content="Let me see.")
    for index, (name, pieces) in enumerate(CALLS):
        function = {"name": name, "arguments": ""}
        call = {"index": index, "id": f"up_{index}", "type": "function", "function": function}
        client.delta(tool_calls=[call])
        for piece in pieces:
            client.delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])
    client.say(reason="tool_calls")
    client.event({"choices": [], "usage": USAGE | {"completion_tokens_details": DETAILS}})
    client.raw("data: [DONE]\n\n")


def endless(client: Any, upstream: Upstream) -> None:
    client.begin()
    with suppress(OSError):
        while not upstream.left.wait(WAIT_S):
            client.say("more ")
    upstream.left.set()


def patient(client: Any, upstream: Upstream) -> None:
    """Says the rest when the test lets it."""
    client.begin()
    client.say(PIECES[0])
    upstream.may_end.wait(30)
    for piece in PIECES[1:]:
        client.say(piece)
    client.say(reason="stop")
    client.raw("data: [DONE]\n\n")


def shaky(client: Any, upstream: Upstream) -> None:
    """Well at the third attempt."""
    upstream.failed += 1
    if upstream.failed <= SHAKES:
        return client.refuse(503, "try again")  # type: ignore[no-any-return]
    upstream.failed = 0
    return fluent(client, upstream)


def rationed(client: Any, upstream: Upstream) -> None:
    """One of its keys has had all that it may."""
    if client.headers["authorization"] == f"Bearer {SPENT}":
        return client.refuse(429, "spent", retry_after="60")  # type: ignore[no-any-return]
    return fluent(client, upstream)


def slow(client: Any, upstream: Upstream) -> None:
    """Thinks before it says anything, its headers included."""
    time.sleep(SLOW_S)
    fluent(client, upstream)


def silent(client: Any, upstream: Upstream) -> None:
    client.begin()
    client.say(PIECES[0])
    upstream.may_end.wait(30)


def flood(client: Any, upstream: Upstream) -> None:
    """Faster than any model, until nobody reads it."""
    client.begin()
    for number in range(FLOOD):
        upstream.left.wait(FLOOD_S)
        client.say(f"<{number}>" + 1000 * "x")
    client.say(reason="stop")
    client.raw("data: [DONE]\n\n")


def cut(client: Any, _: Upstream) -> None:
    client.begin()
    client.say("Calm")


def garbled(client: Any, _: Upstream) -> None:
    client.begin()
    client.say("Calm")
    client.raw("data: {nonsense\n\n")


def sorry(client: Any, _: Upstream) -> None:
    client.begin()
    client.event({"error": {"message": "the model fell over", "code": 502}})


def odd(client: Any, _: Upstream) -> None:
    client.begin()
    client.event([1, 2])


def absent(client: Any, _: Upstream) -> None:
    client.refuse(404, "no such model upstream")


CALLS = (("weather", ('{"city":', '"Oslo"}')), ("clock", ("{}",)))
DETAILS = {"reasoning_tokens": 2}
WAYS: dict[str, Callable[[Any, Upstream], None]] = {
    "some-model": fluent,
    "org/brief.v2": brief,
    "caller": caller,
    "novel": novel,
    "endless": endless,
    "flood": flood,
    "shaky": shaky,
    "rationed": rationed,
    "slow": slow,
    "silent": silent,
    "patient": patient,
    "cut": cut,
    "garbled": garbled,
    "sorry": sorry,
    "odd": odd,
    "busy": lambda client, _: client.refuse(429, "slow down", retry_after="7"),
    "broken": lambda client, _: client.refuse(500, "out of order"),
    "picky": lambda client, _: client.refuse(400, "too hot"),
    "locked": lambda client, _: client.refuse(401, "key sk-secret is wrong"),
}
