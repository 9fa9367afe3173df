"""What a loopback server streams, as the one piece that a client gets who asks for no stream."""

import json
import socket
from typing import Any


class Held:
    """Events of one answer, which go out together at its end."""

    def __init__(self, connection: socket.socket, model: str) -> None:
        self.model = model
        self._connection = connection
        self._text = ""
        self.is_begun = False

    def add(self, text: str) -> None:
        """Raises ConnectionResetError once nobody waits for it."""
        self._text += text
        try:
            if not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionResetError
        except BlockingIOError:
            pass

    def data(self) -> list[str]:
        lines = self._text.splitlines()
        said = [line[5:].strip() for line in lines if line.startswith("data:")]
        return [data for data in said if data != "[DONE]"]


def openai(data: list[str], model: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether all of it comes."""
    events = [_read(each) for each in data]
    spoiled = next((each for each in data if not isinstance(_read(each), dict)), None)
    if spoiled is not None:
        return 200, spoiled.encode(), True
    error = next((event for event in events if "error" in event), None)
    if error is not None:
        return 502, json.dumps(error).encode(), True
    choices = [choice for event in events for choice in event.get("choices", ())]
    usage = next((event["usage"] for event in events if event.get("usage")), None)
    whole = {"id": "x", "object": "x", "created": 1, "model": model, "choices": [_choice(choices)]}
    body = json.dumps(whole | ({"usage": usage} if usage else {}), ensure_ascii=False).encode()
    return 200, body, any(choice.get("finish_reason") for choice in choices)


def _choice(parts: list[dict[str, Any]]) -> dict[str, Any]:
    reason = next((part["finish_reason"] for part in parts if part.get("finish_reason")), None)
    said = {"index": 0, "logprobs": None, "finish_reason": reason}
    if any("text" in part for part in parts):
        return said | {"text": "".join(part.get("text") or "" for part in parts)}
    deltas = [part.get("delta", {}) for part in parts]
    message: dict[str, Any] = {"role": "assistant"}
    for name in ("content", "reasoning_content"):
        words = [delta[name] for delta in deltas if delta.get(name)]
        message |= {name: "".join(words)} if words or name == "content" else {}
    calls: dict[int, dict[str, Any]] = {}
    for call in (call for delta in deltas for call in delta.get("tool_calls", ())):
        known = calls.setdefault(call["index"], call | {"function": {"arguments": ""}})
        told = call["function"]
        arguments = known["function"]["arguments"] + told.get("arguments", "")
        known["function"] |= told | {"arguments": arguments}
    for call in calls.values():
        call.pop("index")
    return said | {"message": message | ({"tool_calls": [*calls.values()]} if calls else {})}


def anthropic(data: list[str], model: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether all of it comes."""
    events = [_read(each) for each in data]
    spoiled = next((each for each in data if not isinstance(_read(each), dict)), None)
    if spoiled is not None:
        return 200, spoiled.encode(), True
    error = next((event for event in events if event["type"] == "error"), None)
    if error is not None:
        return 500, json.dumps(error).encode(), True
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = event["message"] | {"model": model}
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _add(blocks[event["index"]], event["delta"])
            case "message_delta":
                usage = message["usage"] | event["usage"]
                message |= event["delta"] | {"usage": usage}
    for block in blocks.values():
        if "partial_json" in block:
            block["input"] = json.loads(block.pop("partial_json") or "{}")
    message["content"] = [*blocks.values()]
    return (
        200,
        json.dumps(message, ensure_ascii=False).encode(),
        any(e["type"] == "message_stop" for e in events),
    )


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "signature", "partial_json"):
        if name in delta:
            block[name] = block.get(name, "") + delta[name]


def _read(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
