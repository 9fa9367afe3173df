"""TCP carried on byte by byte: to whichever gateway takes it, or over a link that can break."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import cast

from ops.bench._children import free_port

HOST = "127.0.0.1"


class End(asyncio.Protocol):
    """One end of a carried connection: what it reads, the other end writes."""

    def __init__(self, ends: "set[End]", is_open: Callable[[], bool]) -> None:
        self.transport: asyncio.Transport
        self.other: End | None = None
        self.lost = False
        self._ends = ends
        self._is_open = is_open
        self._is_full = False
        """The other end's socket takes no more."""
        self._early = bytearray()
        """What came before there was another end: uvloop does not pause what has only begun."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)
        self._ends.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self._is_open() and not self._early:
            self.other.transport.write(data)
        else:
            self._early += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._ends.discard(self)
        if self.other is None or self.other.lost:
            return
        # An end that broke breaks the other; one that was closed lets it have the rest.
        if error is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other._is_full = True
            self.other.look()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._is_full = False
            self.other.look()

    def look(self) -> None:
        """Read exactly if that may go on."""
        if self.lost or self.other is None:
            return
        if self._is_open() and not self._is_full:
            self.other.transport.write(bytes(self._early))
            self._early.clear()
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()


class Carrier:
    """Listens on a port of its own and carries each connection to the next target that takes it."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.port = free_port()
        self._targets = tuple(targets)
        self._turn = 0
        self._is_open = True
        self._ends: set[End] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, HOST, self.port)

    async def close(self) -> None:
        self._server.close()
        while self._dialling:
            await asyncio.wait(self._dialling)
        self.cut()
        while self._ends:
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Break every connection there is; new ones are carried."""
        for end in self._ends:
            if end.other is not None:
                end.transport.abort()

    def hole(self) -> None:
        """Carry nothing any more, and say so to nobody."""
        self._is_open = False
        self._look()

    def heal(self) -> None:
        self._is_open = True
        self._look()

    def _look(self) -> None:
        for end in self._ends:
            end.look()

    def _end(self) -> End:
        return End(self._ends, lambda: self._is_open)

    def _accept(self) -> End:
        near = self._end()
        task = asyncio.create_task(self._carry(near))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return near

    async def _carry(self, near: End) -> None:
        far = await self._dial()
        if near.lost or far is None:
            for end in filter(None, (near, far)):
                end.transport.abort()
            return
        near.other, far.other = far, near
        near.look()
        far.look()

    async def _dial(self) -> End | None:
        """The next target that is there; None when none is."""
        for _ in self._targets:
            port = self._targets[self._turn % len(self._targets)]
            self._turn += 1
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                return (await loop.create_connection(self._end, HOST, port))[1]
        return None
