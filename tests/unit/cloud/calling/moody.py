"""A server on loopback that answers as it is told, each question by the next of its moods."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

Mood = Callable[[asyncio.StreamWriter, "Moody"], Awaitable[None]]


@dataclass
class Moody:
    url: str = ""
    keys: list[str] = field(default_factory=list)
    """That questions came with, in their order."""
    heads: list[str] = field(default_factory=list)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What is silent waits for it."""


def status(number: int, *headers: str, body: bytes = b"{}") -> Mood:
    async def answer(writer: asyncio.StreamWriter, _: Moody) -> None:
        said = [f"HTTP/1.1 {number} Told", f"content-length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(said).encode() + body)

    return answer


fine = status(200, body=b'{"is": "fine"}')


async def hang_up(writer: asyncio.StreamWriter, _: Moody) -> None:
    writer.close()


async def break_off(writer: asyncio.StreamWriter, _: Moody) -> None:
    writer.write(b"HTTP/1.1 200 Told\r\ncontent-length: 99\r\n\r\ndata: half")
    await writer.drain()
    writer.close()


async def never_begin(_: asyncio.StreamWriter, moody: Moody) -> None:
    await moody.may_go_on.wait()


async def begin_and_fall_silent(writer: asyncio.StreamWriter, moody: Moody) -> None:
    writer.write(b"HTTP/1.1 200 Told\r\ncontent-length: 99\r\n\r\ndata: half")
    await moody.may_go_on.wait()


@asynccontextmanager
async def moody(
    *moods: Mood, by_key: dict[str, Sequence[Mood]] | None = None
) -> AsyncIterator[Moody]:
    """The last mood stays. ``by_key`` has others for those who show that key."""
    told = Moody()
    left = {key: list(each) for key, each in (by_key or {}).items()}
    left[""] = list(moods)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields.get("content-length", 0)))
                key = fields.get("authorization", "").removeprefix("bearer ")
                told.keys.append(key)
                told.heads.append(head)
                next_of = left[key if key in left else ""]
                await (next_of.pop(0) if len(next_of) > 1 else next_of[0])(writer, told)
                await writer.drain()

    serving: set[asyncio.Task[None]] = set()

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)

    async with await asyncio.start_server(met, "127.0.0.1", 0) as server:
        told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield told
        finally:
            told.may_go_on.set()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
