"""A machine's way to the bus, which may go dead: what is sent is lost without a word, as with a
cable that was pulled.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

Address = tuple[str, int]


class Link:
    """Passes connections on to the bus servers, one port for each."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._works = asyncio.Event()
        self._works.set()
        self._pipes: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, servers: Sequence[Address]) -> "AsyncIterator[Link]":
        link = cls()
        listening = [await link._listen(server) for server in servers]
        try:
            yield link
        finally:
            for each in listening:
                each.close()
            for pipe in link._pipes:
                pipe.cancel()
            await asyncio.gather(*link._pipes, return_exceptions=True)

    async def _listen(self, server: Address) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pipe = asyncio.current_task()
            assert pipe
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_on(reader, writer, server)
            writer.close()

        listening = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.ports.append(listening.sockets[0].getsockname()[1])
        return listening

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Address
    ) -> None:
        await self._works.wait()
        far_reader, far_writer = await asyncio.open_connection(*server)
        there = asyncio.create_task(self._pump(reader, far_writer))
        back = asyncio.create_task(self._pump(far_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._works.wait()
            writer.write(data)
            await writer.drain()

    def go_dead(self) -> None:
        """Nothing comes through; neither side is told."""
        self._works.clear()

    def come_back(self) -> None:
        """What is on its way arrives late, as TCP has it."""
        self._works.set()
