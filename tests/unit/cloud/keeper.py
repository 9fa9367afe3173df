"""A server on loopback that speaks OpenAI's Responses API and keeps what it answered."""

import json
from collections.abc import Callable
from typing import Any

from tests.unit.cloud import whole
from tests.unit.cloud.loopback import Loopback, Speaker

TEXT = "Calm seas, and a ☃."
SPENT = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}


class Keeper(Loopback):
    """``kept`` has the response and the input of each that was not deleted, by its id."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        """Method, path and body of what was asked, catalogs left out."""
        self.kept: dict[str, tuple[bytes, Any]] = {}
        self.said = b""
        """The latest answer."""
        self._made = 0
        keeper = self

        class Handler(Speaker):
            def dropped(self) -> None:
                keeper.asked.append((f"DELETE {self.path}", b""))
                id = self.path.split("/")[3]
                if keeper.kept.pop(id, None) is None:
                    return self.refuse(404, f"Response with id '{id}' not found.")
                return self.answer(200, {"id": id, "object": "response", "deleted": True})

            def got(self) -> None:
                if self.path == "/v1/models":
                    return self.answer(200, {"data": [{"id": name} for name in WAYS]})
                keeper.asked.append((f"GET {self.path}", b""))
                path, _, _ = self.path.partition("?")
                id, *below = path.split("/")[3:]
                if id not in keeper.kept:
                    return self.refuse(404, f"Response with id '{id}' not found.")
                response, given = keeper.kept[id]
                if below:
                    return self.answer(200, {"object": "list", "data": given, "query": self.path})
                return self._write(200, response, {})

            def asked(self, content: bytes) -> None:
                keeper.asked.append((f"POST {self.path}", content))
                body = json.loads(content)
                if self.path.endswith("/chat/completions"):
                    self.hear(body)
                    return self.chat()
                before = body.get("previous_response_id")
                if before is not None and before not in keeper.kept:
                    return self.refuse(400, f"Previous response with id '{before}' not found.")
                return WAYS[body["model"]](self, keeper, body)

            def chat(self) -> None:
                self.begin()
                choice = {"index": 0, "delta": {"content": "Told in chat."}, "finish_reason": None}
                self.raw(f"data: {json.dumps({'choices': [choice]})}\n\n")
                end = {"index": 0, "delta": {}, "finish_reason": "stop"}
                self.raw(f"data: {json.dumps({'choices': [end]})}\n\ndata: [DONE]\n\n")
                self.finish_whole(whole.openai)

            def refuse(self, status: int, message: str) -> None:
                self.answer(status, {"error": {"message": message, "code": "x"}})

            def tell(self, *events: bytes) -> None:
                self.begin()
                keeper.said = b"".join(events)
                self.raw(keeper.said.decode())

        super().__init__(Handler)

    def made(self, body: dict[str, Any], output: list[dict[str, Any]], **more: Any) -> bytes:
        """A response to a request, kept unless that says no, in a form of its own."""
        self._made += 1
        id = f"resp_up{self._made:04}"
        response = {
            "id": id,
            "object": "response",
            "status": "completed",
            "model": body["model"],
            "store": body.get("store", True),
            "output": output,
            "tomorrow": [1.50, {"mood": "☃"}],
            "usage": SPENT,
            **more,
        }
        said = json.dumps(response, indent=1, ensure_ascii=False).encode()
        if response["store"]:
            self.kept[id] = (said, body.get("input"))
        return said


def message(text: str = TEXT) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": "msg_up",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def event(kind: str, **more: Any) -> bytes:
    said = json.dumps({"type": kind, **more}, ensure_ascii=False)
    return f"event: {kind}\ndata: {said}\n\n".encode()


def told(client: Any, keeper: Keeper, body: dict[str, Any], output: list[dict[str, Any]]) -> None:
    response = keeper.made(body, output)
    if not body.get("stream"):
        keeper.said = response
        return client._write(200, response, {})  # type: ignore[no-any-return]
    whole = json.loads(response)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    return client.tell(  # type: ignore[no-any-return]
        event("response.created", response=begun, sequence_number=0),
        b": a word of its own\n\n",
        event("response.hologram", of={"no": "body"}, sequence_number=1),
        event("response.output_text.delta", delta=TEXT, sequence_number=2),
        event("response.completed", response=whole, sequence_number=3),
    )


def fluent(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    told(client, keeper, body, [message()])


def novel(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    """It answers with what nobody here has heard of."""
    told(client, keeper, body, [{"type": "hologram", "id": "holo_1"}, message()])


def brief(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    """Ended by its limit."""
    cut = {"reason": "max_output_tokens"}
    response = json.loads(
        keeper.made(body, [message()], status="incomplete", incomplete_details=cut)
    )
    client.tell(
        event("response.created", response=response),
        event("response.incomplete", response=response),
    )


def fallen(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    begun = {"id": "resp_fallen", "status": "in_progress", "output": []}
    error = {"code": "server_error", "message": "it fell over"}
    client.tell(
        event("response.created", response=begun),
        event("response.output_text.delta", delta="Calm"),
        event("response.failed", response=begun | {"status": "failed", "error": error}),
    )


def cut(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    client.tell(
        event("response.created", response={"id": "resp_cut"}),
        event("response.output_text.delta", delta="Calm"),
    )


def broken(client: Any, keeper: Keeper, body: dict[str, Any]) -> None:
    client.refuse(500, "out of order")


WAYS: dict[str, Callable[[Any, Keeper, dict[str, Any]], None]] = {
    "some-model": fluent,
    "novel": novel,
    "brief": brief,
    "fallen": fallen,
    "cut": cut,
    "broken": broken,
}
