"""The engine's end of token streams: frames are sent once, and kept for a while."""

import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client

from bus.connection import Bus, Hearing
from bus.dialing import dial, hang_up, settled
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, End, Failed
from proto.generation import Generate, Replay, Replayed
from proto.ids import EngineId, GatewayId, RequestId
from proto.subjects import GENERATE, REPLAY, STREAM

KEEP_S = 30.0
"""How long an engine keeps the frames of a finished request."""
RING_FRAMES = 8192
"""Most frames kept of one request; a reader further behind than this has lost the rest."""


class _Outgoing:
    """One request's frames on the engine's side."""

    __slots__ = ("ended_at", "epoch", "head", "next_seq", "question", "ring")

    def __init__(self, address: str, epoch: int, question: bytes) -> None:
        self.epoch = epoch
        self.question = question
        self.head = f"PUB {address} ".encode()
        self.ring: deque[tuple[int, bytes]] = deque(maxlen=RING_FRAMES)
        self.next_seq = 0
        self.ended_at: float | None = None

    @property
    def first_seq(self) -> int:
        """Of the frames that can still be sent again."""
        return self.ring[0][0] if self.ring else self.next_seq


class TokenSink:
    """The engine's end: sends frames and keeps them for a while."""

    def __init__(self, client: Client, engine: EngineId) -> None:
        self._client = client
        self._engine = engine
        self._streams: dict[RequestId, _Outgoing] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._ended: deque[tuple[RequestId, _Outgoing]] = deque()

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, engine: EngineId) -> "AsyncIterator[TokenSink]":
        client = await dial(url, f"tokens:{engine}", lambda: None, pending_size=-1)
        try:
            yield cls(client, engine)
        finally:
            await hang_up(client)

    def open(
        self, request: RequestId, gateway: GatewayId, epoch: int = 0, question: bytes = b""
    ) -> None:
        """Begin a stream. Frames of a request that is not open, or of an earlier attempt of it,
        are dropped. ``question`` is a digest of what was asked.
        """
        address = STREAM.at(gateway, self._engine, request)
        self._streams[request] = _Outgoing(address, epoch, question)
        self._forget_ended()

    def knows(self, request: RequestId, epoch: int = 0) -> bool:
        """This attempt of the request, or a later one."""
        stream = self._streams.get(request)
        return stream is not None and stream.epoch >= epoch

    def epoch_of(self, request: RequestId) -> int | None:
        """The attempt whose frames are sent; None for a request that is unknown."""
        stream = self._streams.get(request)
        return None if stream is None else stream.epoch

    def send(self, frames: Iterable[tuple[RequestId, AnyFrame]]) -> None:
        """Send what one step yielded in a single write."""
        out: list[bytes] = []
        for request, frame in frames:
            stream = self._streams.get(request)
            if stream is None or frame.epoch < stream.epoch:
                continue
            body = self._encode(frame)
            stream.ring.append((frame.seq, body))
            stream.next_seq = frame.seq + 1
            out.append(b"%b%d\r\n%b\r\n" % (stream.head, len(body), body))
            if isinstance(frame, End | Failed):
                stream.ended_at = time.monotonic()
                self._ended.append((request, stream))
        self._write(out)

    def replay(self, request: RequestId, seq: int) -> int:
        """Send a request's frames again from ``seq`` on; the number of the next new one.

        Raises MeshError when the request is unknown or the ring no longer holds ``seq``.
        """
        stream = self._streams.get(request)
        if stream is None or stream.first_seq > seq:
            raise MeshError(Code.ENGINE_LOST, "the engine no longer holds this stream")
        self._write(
            [b"%b%d\r\n%b\r\n" % (stream.head, len(b), b) for at, b in stream.ring if at >= seq]
        )
        return stream.next_seq

    def resend(self, asked: Generate) -> None:
        """All frames of a request that is known; from now on to who asks, if its gateway has died.

        Raises MeshError when this is not the attempt that is known, asks something else, or comes
        when frames are gone already.
        """
        stream = self._streams[asked.request]
        same = (stream.epoch, stream.question) == (asked.epoch, digest_of(asked))
        if not same or stream.first_seq > 0:
            raise MeshError(Code.ENGINE_LOST, "the engine no longer holds this stream")
        address = STREAM.at(asked.gateway, self._engine, asked.request)
        stream.head = f"PUB {address} ".encode()
        self.replay(asked.request, 0)

    def forget(self, request: RequestId, seq: int) -> None:
        """Its gateway has all frames before ``seq``, and will not ask for them again."""
        stream = self._streams.get(request)
        while stream is not None and stream.ring and stream.ring[0][0] < seq:
            stream.ring.popleft()

    async def settled(self) -> None:
        """Return when the server has every frame: what is said elsewhere then comes behind them."""
        await settled(self._client)

    def _write(self, out: list[bytes]) -> None:
        """Straight to the socket: nats-py's own path costs a task switch and 5 µs a message."""
        transport = self._client._transport
        if out and transport is not None and self._client.is_connected:
            # uvloop's word for a socket that died before nats-py knows. The ring has it all.
            with suppress(RuntimeError):
                transport.write(b"".join(out))

    def _forget_ended(self) -> None:
        oldest = time.monotonic() - KEEP_S
        while self._ended and (self._ended[0][1].ended_at or 0.0) <= oldest:
            request, stream = self._ended.popleft()
            if self._streams.get(request) is stream:  # Else another attempt took its place.
                del self._streams[request]


def digest_of(asked: Generate) -> bytes:
    """Of all that an answer depends on: who knows a request's id alone gets no answer by it."""
    plain = replace(asked, gateway=GatewayId(""), epoch=0, left_s=None, continues=None)
    return hashlib.blake2b(GENERATE.encode(plain), digest_size=16).digest()


async def answer_replays(bus: Bus, sink: TokenSink, engine: EngineId) -> Hearing:
    """Let gateways ask an engine for frames they missed."""

    async def replay(question: Replay) -> Replayed:
        return Replayed(next_seq=sink.replay(question.request, question.seq))

    return await bus.answer(REPLAY, replay, engine)
