"""Token streams: frames from an engine to a gateway, in order, each once.

An engine owns a ``TokenSink``, a gateway a ``TokenSource``; both use a
connection of their own on which nothing else travels. Frames go over core NATS
at most once; what got lost is found by ``seq`` and sent again from the engine's
ring. The reconnect buffer of nats-py is off here: with it on, one restart of the
server brought 25,000 duplicates.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.connection import Bus
from bus.dialing import dial
from bus.errors import BusError
from bus.hotpath import HotParser
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, End, Failed
from proto.ids import EngineId, GatewayId, RequestId
from proto.inference import Replay, Replayed
from proto.subjects import REPLAY, STREAM

log = logging.getLogger(__name__)

KEEP_S = 30.0
"""How long an engine keeps the frames of a finished request."""
RING_FRAMES = 8192
"""Most frames kept of one request; a reader further behind than this has lost the rest."""
SILENCE_S = 1.0
"""A stream silent this long may have lost its tail: ask for it, then ever more seldom."""
LONGEST_SILENCE_S = 8.0
WATCH_S = 0.25
SETTLE_S = 1.0
"""Far longer than a server takes to answer that is there."""


class _Outgoing:
    """One request's frames on the engine's side."""

    __slots__ = ("ended_at", "head", "ring")

    def __init__(self, address: str) -> None:
        self.head = f"PUB {address} ".encode()
        self.ring: deque[tuple[int, bytes]] = deque(maxlen=RING_FRAMES)
        self.ended_at: float | None = None


class TokenSink:
    """The engine's end: sends frames and keeps them for a while."""

    def __init__(self, client: Client, engine: EngineId) -> None:
        self._client = client
        self._engine = engine
        self._streams: dict[RequestId, _Outgoing] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._ended: deque[RequestId] = deque()

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, engine: EngineId) -> "AsyncIterator[TokenSink]":
        client = await dial(url, f"tokens:{engine}", lambda: None, pending_size=-1)
        try:
            yield cls(client, engine)
        finally:
            await client.close()

    def open(self, request: RequestId, gateway: GatewayId) -> None:
        """Begin a stream; frames of a request that is not open are dropped."""
        self._streams[request] = _Outgoing(STREAM.at(gateway, self._engine, request))
        self._forget()

    def knows(self, request: RequestId) -> bool:
        return request in self._streams

    def send(self, frames: Iterable[tuple[RequestId, AnyFrame]]) -> None:
        """Send what one step yielded in a single write."""
        out: list[bytes] = []
        for request, frame in frames:
            stream = self._streams.get(request)
            if stream is None:
                continue
            body = self._encode(frame)
            stream.ring.append((frame.seq, body))
            out.append(b"%b%d\r\n%b\r\n" % (stream.head, len(body), body))
            if isinstance(frame, End | Failed):
                stream.ended_at = time.monotonic()
                self._ended.append(request)
        self._write(out)

    def replay(self, request: RequestId, seq: int) -> int:
        """Send a request's frames again from ``seq`` on; the number of the next new one.

        Raises MeshError when the request is unknown or the ring no longer holds ``seq``.
        """
        stream = self._streams.get(request)
        if stream is None or (stream.ring and stream.ring[0][0] > seq):
            raise MeshError(Code.ENGINE_LOST, "the engine no longer holds this stream")
        self._write(
            [b"%b%d\r\n%b\r\n" % (stream.head, len(b), b) for at, b in stream.ring if at >= seq]
        )
        return stream.ring[-1][0] + 1 if stream.ring else 0

    async def settled(self) -> None:
        """Return when the server has every frame: what is said elsewhere then comes behind them."""
        await _settled(self._client)

    def _write(self, out: list[bytes]) -> None:
        """Straight to the socket: nats-py's own path costs a task switch and 5 µs a message."""
        transport = self._client._transport
        if out and transport is not None and self._client.is_connected:
            transport.write(b"".join(out))

    def _forget(self) -> None:
        oldest = time.monotonic() - KEEP_S
        while self._ended:
            stream = self._streams.get(self._ended[0])
            if stream is not None and (stream.ended_at or 0.0) > oldest:
                return
            self._streams.pop(self._ended.popleft(), None)


class TokenStream:
    """The gateway's view of one request: frames in order, each once.

    Read by one task: ``await ready()``, then ``take()`` all there is.
    """

    __slots__ = (
        "_early",
        "_frames",
        "_waiter",
        "address",
        "engine",
        "epoch",
        "gateway",
        "heard_at",
        "is_over",
        "patience_s",
        "request",
        "want",
    )  # fmt: skip

    def __init__(self, request: RequestId, gateway: GatewayId) -> None:
        self.request = request
        self.gateway = gateway
        self.engine: EngineId | None = None
        self.address = b""
        """Where its engine speaks of it, and nobody else can; empty before it has one."""
        self.epoch = 0
        self.want = 0
        self.heard_at = time.monotonic()
        self.patience_s = SILENCE_S
        self.is_over = False
        self._frames: list[AnyFrame] = []
        self._early: dict[int, AnyFrame] = {}
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, engine: EngineId, epoch: int) -> None:
        """Expect the frames of this attempt, from its first on."""
        self.engine, self.epoch, self.want = engine, epoch, 0
        self.address = STREAM.at(self.gateway, engine, self.request).encode()
        self._early.clear()
        self.heard_at = time.monotonic()

    def push(self, frame: AnyFrame) -> bool:
        """Take a frame in; False when one before it is missing."""
        if frame.epoch != self.epoch or frame.seq < self.want or self.is_over:
            return True
        self.heard_at = time.monotonic()
        self.patience_s = SILENCE_S
        if frame.seq != self.want:
            self._early[frame.seq] = frame
            return False
        self._deliver(frame)
        while self._early and self.want in self._early:
            self._deliver(self._early.pop(self.want))
        return True

    def fail(self, code: Code, message: str) -> None:
        """End the stream from this side."""
        if not self.is_over:
            self._deliver(Failed(self.epoch, self.want, code.word, message))

    def _deliver(self, frame: AnyFrame) -> None:
        self.want += 1
        self.is_over = isinstance(frame, End | Failed)
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ready(self) -> None:
        """Return when there is something to take."""
        if not self._frames:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def take(self) -> list[AnyFrame]:
        frames, self._frames = self._frames, []
        return frames


class TokenSource:
    """The gateway's end: one subscription for all its requests."""

    _client: Client

    def __init__(self, bus: Bus, gateway: GatewayId) -> None:
        self._bus = bus
        self._gateway = gateway
        self._streams: dict[bytes, TokenStream] = {}
        self._asking: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.bad_mail = 0
        self.gaps = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, bus: Bus, gateway: GatewayId) -> "AsyncIterator[TokenSource]":
        source = cls(bus, gateway)
        client = await dial(bus.url, f"tokens:{gateway}", source._replay_all, pending_size=-1)
        source._client = client
        try:
            await source._subscribe(client)
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(source._watch())
                yield source
                watch.cancel()
        finally:
            for task in source._tasks:
                task.cancel()
            await client.close()

    async def _subscribe(self, client: Client) -> None:
        async def receive(mail: Msg) -> None:
            self._hear(mail.subject.encode(), mail.data)

        address = STREAM.within(gateway=self._gateway)
        subscription = await client.subscribe(address, cb=receive, pending_msgs_limit=-1)
        HotParser.install(client, subscription, self._hear)
        await client.flush()
        await client.flush()

    def open(self, request: RequestId) -> TokenStream:
        stream = TokenStream(request, self._gateway)
        self._streams[request.encode()] = stream
        return stream

    def close(self, stream: TokenStream) -> None:
        """Hear no more of it; a later stream of the same request goes on."""
        request = stream.request.encode()
        if self._streams.get(request) is stream:
            del self._streams[request]

    async def settled(self) -> None:
        """Return when every frame is taken in that the server had for us when this was asked."""
        await _settled(self._client)

    def __len__(self) -> int:
        return len(self._streams)

    def on_engine(self, engine: EngineId) -> list[TokenStream]:
        """The open streams that an engine is serving."""
        return [s for s in self._streams.values() if s.engine == engine]

    def engines(self) -> set[EngineId]:
        return {s.engine for s in self._streams.values() if s.engine is not None}

    def _hear(self, subject: bytes, body: bytes) -> None:
        request = subject[subject.rfind(b".") + 1 :]
        stream = self._streams.get(request)
        if stream is None:
            return
        try:
            frame = STREAM.decode(body)
        except msgspec.DecodeError:
            self.bad_mail += 1
            log.warning("dropped a malformed frame on %s", subject.decode())
            return
        if subject != stream.address:
            self._drop_stranger(subject, frame, stream)
        elif not stream.push(frame):
            self.gaps += 1
            self._ask_again(request, stream)

    def _drop_stranger(self, subject: bytes, frame: AnyFrame, stream: TokenStream) -> None:
        """An engine that was asked before may still speak, of its own attempt."""
        if frame.epoch >= stream.epoch:
            self.bad_mail += 1
            log.warning("dropped a frame of an engine that was not asked: %s", subject.decode())

    def _replay_all(self) -> None:
        for request, stream in self._streams.items():
            self._ask_again(request, stream)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            for request, stream in list(self._streams.items()):
                if now - stream.heard_at > stream.patience_s:
                    stream.heard_at = now
                    stream.patience_s = min(2 * stream.patience_s, LONGEST_SILENCE_S)
                    self._ask_again(request, stream)

    def _ask_again(self, request: bytes, stream: TokenStream) -> None:
        if stream.engine is None or stream.is_over or request in self._asking:
            return
        self._asking.add(request)
        task = asyncio.create_task(self._replay(request, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replay(self, request: bytes, stream: TokenStream) -> None:
        assert stream.engine is not None
        epoch, want = stream.epoch, stream.want
        try:
            await self._bus.ask(REPLAY, Replay(request=stream.request, seq=want), stream.engine)
        except MeshError as error:
            if stream.epoch == epoch:
                stream.fail(error.code, error.message)
        except BusError as error:
            log.info("no replay of %s yet: %s", stream.request, error)
        finally:
            self._asking.discard(request)


async def _settled(client: Client) -> None:
    """A connection that is down has nothing to settle, and is not waited for."""
    if client.is_connected:
        flushing = asyncio.ensure_future(client.flush())
        flushing.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Late, it goes on alone: nats-py 2.16 cannot take an answer that nobody waits for.
        await asyncio.wait({flushing}, timeout=SETTLE_S)


async def answer_replays(bus: Bus, sink: TokenSink, engine: EngineId) -> None:
    """Let gateways ask an engine for frames they missed."""

    async def replay(question: Replay) -> Replayed:
        return Replayed(next_seq=sink.replay(question.request, question.seq))

    await bus.answer(REPLAY, replay, engine)
