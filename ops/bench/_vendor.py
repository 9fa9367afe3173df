"""A provider on loopback, as fast as Python can be: ``python -m ops.bench._vendor PORT``.

It speaks OpenAI's chat completions with the same answer for everybody: in one piece, or as EVENTS
events, each in a write of its own.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

MODEL = "gpt-bench"
EVENTS = 100
_USAGE = {"prompt_tokens": 20, "completion_tokens": EVENTS, "total_tokens": 20 + EVENTS}
_BASE = {"id": "chatcmpl-bench", "created": 1, "model": MODEL}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _response(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def _event(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _part(delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _event(_json(_BASE | {"object": "chat.completion.chunk", "choices": [choice]}))


MODELS = _response(_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
WHOLE = _response(
    _json(
        _BASE
        | {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "word " * EVENTS},
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
        }
    )
)
BEGINNING = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
WORD, LAST = _part({"content": "word "}, None), _part({}, "stop")
SPENT = _event(_json(_BASE | {"object": "chat.completion.chunk", "choices": [], "usage": _USAGE}))
DONE = _event(b"[DONE]") + b"0\r\n\r\n"


class Vendor(asyncio.Protocol):
    """One connection, one question at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._held = b""
        self._telling: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, body = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self._held = body[length:]
        if head.startswith(b"GET"):
            self._transport.write(MODELS)
            if b"http/1.0" in lower:
                self._transport.close()
        elif json.loads(body[:length]).get("stream"):
            self._telling = asyncio.get_running_loop().create_task(self._tell())
        else:
            self._transport.write(WHOLE)

    async def _tell(self) -> None:
        self._transport.write(BEGINNING)
        for _ in range(EVENTS):
            self._transport.write(WORD)
            await asyncio.sleep(0)
        self._transport.write(LAST + SPENT + DONE)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
