"""Token streams: frames from an engine to a gateway, in order, each once.

An engine owns a ``TokenSink`` (``bus.sink``), a gateway a ``TokenSource``; both use a
connection of their own on which nothing else travels. Frames go over core NATS
at most once; what got lost is found by ``seq`` and sent again from the engine's
ring. The reconnect buffer of nats-py is off here: with it on, one restart of the
server brought 25,000 duplicates.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.connection import Bus
from bus.credit import WINDOW, Credit
from bus.dialing import dial, settled
from bus.errors import BusError, NobodyThere
from bus.hotpath import HotParser
from bus.strays import Strays
from proto.errors import Code, MeshError
from proto.frames import AnyFrame, End, Failed
from proto.ids import EngineId, GatewayId, RequestId
from proto.inference import Cancel, Hold, Replay
from proto.subjects import CANCEL, HOLD, REPLAY, STREAM

log = logging.getLogger(__name__)

SILENCE_S = 1.0
"""A stream silent this long may have lost its tail: ask for it, then ever more seldom."""
LONGEST_SILENCE_S = 8.0
ABSENCES, ABSENT_S = 2, 0.5
"""Questions in a row, and the time between them, that find nobody there: the engine has ended."""
WATCH_S = 0.25
EARLY_FRAMES = 1024
"""Most frames kept that came before one that is missing; a replay brings the others again."""
MOST_SPOILED = 3
"""So often a frame may come that cannot be read, with none between them that can."""


class TokenStream:
    """The gateway's view of one request: frames in order, each once.

    Read by one task: ``await ready()``, then ``take()`` all there is.
    """

    __slots__ = (
        "_absences",
        "_early",
        "_frames",
        "_spoiled",
        "_waiter",
        "address",
        "credit",
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
        self.credit = Credit()
        self._absences = 0
        self._spoiled = 0
        self._frames: list[AnyFrame] = []
        self._early: dict[int, AnyFrame] = {}
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, engine: EngineId, epoch: int) -> None:
        """Expect the frames of this attempt, from its first on."""
        self.engine, self.epoch, self.want = engine, epoch, 0
        self.address = STREAM.at(self.gateway, engine, self.request).encode()
        self.credit = Credit()
        self._absences = 0
        self._spoiled = 0
        self._early.clear()
        self.heard_at = time.monotonic()

    def push(self, frame: AnyFrame) -> bool:
        """Take a frame in; False when one before it is missing."""
        if frame.epoch != self.epoch or frame.seq < self.want or self.is_over:
            return True
        self.heard_at = time.monotonic()
        self.patience_s = SILENCE_S
        if frame.seq != self.want:
            if len(self._early) < EARLY_FRAMES:
                self._early[frame.seq] = frame
            return False
        self._deliver(frame)
        while self._early and self.want in self._early:
            self._deliver(self._early.pop(self.want))
        return True

    def spoil(self) -> bool:
        """One came that cannot be read; True when that is so again and again."""
        self._spoiled += 1
        return self._spoiled >= MOST_SPOILED

    def miss(self) -> bool:
        """Nobody is there to replay it; True when that is so again, after a moment."""
        self._absences += 1
        self.heard_at, self.patience_s = time.monotonic(), ABSENT_S
        return self._absences >= ABSENCES

    def fail(self, code: Code, message: str) -> None:
        """End the stream from this side."""
        if not self.is_over:
            self._deliver(Failed(self.epoch, self.want, code.word, message))

    def _deliver(self, frame: AnyFrame) -> None:
        self.want += 1
        self._absences = self._spoiled = 0
        self.is_over = isinstance(frame, End | Failed)
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> int:
        """Frames that its reader has not taken."""
        return len(self._frames)

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
        self._strays = Strays(self._cancel)
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
        await settled(self._client)

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
            self._strays.heard(subject)
            return
        if subject != stream.address:
            self._hear_stranger(subject, body, stream)
            return
        try:
            frame = STREAM.decode(body)
        except msgspec.DecodeError as error:
            self._hear_nonsense(subject, stream, error)
            return
        if not stream.push(frame):
            self.gaps += 1
            self._ask_again(request, stream)
        elif len(stream._frames) > WINDOW:
            # Whoever reads it, unless he waits for a client, has all of it by then.
            asyncio.get_running_loop().call_soon(self._keep_within_credit, stream)

    def _hear_stranger(self, subject: bytes, body: bytes, stream: TokenStream) -> None:
        """An engine that was asked before goes on with its own attempt; nobody else has a word."""
        try:
            is_late = STREAM.decode(body).epoch < stream.epoch
        except msgspec.DecodeError:
            is_late = False
        if not is_late:
            self.bad_mail += 1
            log.warning("dropped a frame of an engine that was not asked: %s", subject.decode())
        self._strays.heard(subject)

    def _hear_nonsense(self, subject: bytes, stream: TokenStream, error: Exception) -> None:
        """It counts as lost; where it is all that the engine has to say, the stream is."""
        self.bad_mail += 1
        log.warning("dropped a malformed frame on %s: %s", subject.decode(), error)
        if stream.spoil():
            stream.fail(
                Code.INTERNAL,
                f"Engine {stream.engine} says what this gateway cannot read; "
                "run the same version of odyssai on both.",
            )
        else:
            self._ask_again(stream.request.encode(), stream)

    def _cancel(self, engine: EngineId, request: RequestId) -> None:
        """All of its attempts but one that is waited for."""
        log.info("nobody waits for %s: telling %s", request, engine)
        stream = self._streams.get(request.encode())
        epoch = None if stream is None else stream.epoch - 1
        self._begin(self._bus.publish(CANCEL, Cancel(request=request, epoch=epoch), engine))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _replay_all(self) -> None:
        for request, stream in self._streams.items():
            self._ask_again(request, stream)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            for request, stream in list(self._streams.items()):
                self._keep_within_credit(stream)
                if stream.credit.is_held:
                    stream.heard_at = now
                elif now - stream.heard_at > stream.patience_s:
                    stream.heard_at = now
                    stream.patience_s = min(2 * stream.patience_s, LONGEST_SILENCE_S)
                    self._ask_again(request, stream)

    def _keep_within_credit(self, stream: TokenStream) -> None:
        """Tell its engine to hold while its reader is far behind, and then to go on."""
        if stream.engine is None or stream.is_over:
            return
        for_s = stream.credit.due(stream.waiting, time.monotonic())
        if for_s is not None:
            hold = Hold(request=stream.request, seq=stream.want, for_s=for_s)
            self._begin(self._bus.publish(HOLD, hold, stream.engine))

    def _ask_again(self, request: bytes, stream: TokenStream) -> None:
        if stream.engine is None or stream.is_over or request in self._asking:
            return
        self._asking.add(request)
        self._begin(self._replay(request, stream))

    async def _replay(self, request: bytes, stream: TokenStream) -> None:
        assert stream.engine is not None
        epoch, want = stream.epoch, stream.want
        try:
            await self._bus.ask(REPLAY, Replay(request=stream.request, seq=want), stream.engine)
        except MeshError as error:
            if stream.epoch == epoch:
                stream.fail(error.code, error.message)
        except NobodyThere:
            if stream.epoch == epoch and stream.miss():
                stream.fail(Code.ENGINE_LOST, f"Engine {stream.engine} was lost while answering.")
        except BusError as error:
            log.info("no replay of %s yet: %s", stream.request, error)
        finally:
            self._asking.discard(request)
