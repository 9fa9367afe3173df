"""A server that is not ours, on loopback: it says what it is asked, always the same, in pieces."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ops.bench._chaos.pipe import HOST
from ops.bench._models import text

NAME, MODEL = "up", "echo"
HEADING: dict[str, object] = {"id": "chatcmpl-echo", "created": 1, "model": MODEL}
PACE_S = 0.01
"""Between two pieces."""


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """Its base URL."""
    server = await asyncio.start_server(_serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://{HOST}:{port}/v1"
    finally:
        server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # RuntimeError is uvloop's word for a socket that is closed already.
    with suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if head.startswith("get"):
            await _list_models(writer)
        else:
            length = int(head.partition("content-length:")[2].split()[0])
            await _answer(writer, json.loads(await reader.readexactly(length)))
    writer.close()


async def _list_models(writer: asyncio.StreamWriter) -> None:
    await _respond(writer, {"data": [{"id": MODEL}]})


async def _answer_whole(writer: asyncio.StreamWriter, question: str, words: list[str]) -> None:
    message = {"role": "assistant", "content": "".join(f"{word} " for word in words)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    told = {"object": "chat.completion", "choices": [choice], "usage": _usage(question, words)}
    await _respond(writer, HEADING | told)


def _usage(question: str, words: list[str]) -> dict[str, int]:
    usage = {"prompt_tokens": len(question), "completion_tokens": len(words)}
    return usage | {"total_tokens": sum(usage.values())}


async def _respond(writer: asyncio.StreamWriter, said: object) -> None:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def _answer(writer: asyncio.StreamWriter, asked: dict[str, object]) -> None:
    question = json.dumps(asked["messages"])
    words = text(question, random.Random(question).randint(20, 60)).split()
    if not asked.get("stream"):
        await asyncio.sleep(PACE_S * len(words))
        await _answer_whole(writer, question, words)
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for word in words:
        _say(writer, {"choices": [_choice({"content": f"{word} "}, None)]})
        await writer.drain()
        await asyncio.sleep(PACE_S)
    _say(writer, {"choices": [_choice({}, "stop")]})
    _say(writer, {"choices": [], "usage": _usage(question, words)})
    writer.write(b"data: [DONE]\n\n")
    await writer.drain()


def _say(writer: asyncio.StreamWriter, event: dict[str, object]) -> None:
    told = HEADING | {"object": "chat.completion.chunk"} | event
    writer.write(f"data: {json.dumps(told)}\n\n".encode())


def _choice(delta: dict[str, str], reason: str | None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": reason}
