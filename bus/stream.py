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
from bus.credit import WINDOW
from bus.dialing import dial, hang_up, settled
from bus.errors import BusError, NobodyThere
from bus.hotpath import HotParser
from bus.strays import Strays
from bus.token_stream import TokenStream
from proto.errors import Code, MeshError
from proto.generation import Cancel, Hold, Replay
from proto.ids import EngineId, GatewayId, RequestId
from proto.subjects import CANCEL, HOLD, REPLAY, STREAM

log = logging.getLogger(__name__)

LONGEST_SILENCE_S = 8.0
WATCH_S = 0.25


class TokenSource:
    """The gateway's end: one subscription for all its requests."""

    _client: Client

    def __init__(self, bus: Bus, gateway: GatewayId) -> None:
        self._bus = bus
        self._gateway = gateway
        self._streams: dict[bytes, TokenStream] = {}
        self._asking: set[TokenStream] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._strays = Strays(self._cancel)
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
            await hang_up(client)

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

    def _hear(self, subject: bytes, body: bytes) -> None:
        request = subject[subject.rfind(b".") + 1 :]
        stream = self._streams.get(request)
        if stream is None:
            self._strays.heard(subject, body)
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
            self._ask_again(stream)
        elif len(stream._frames) > WINDOW:
            # Whoever reads it, unless he waits for a client, has all of it by then.
            asyncio.get_running_loop().call_soon(self._keep_within_credit, stream)

    def _hear_stranger(self, subject: bytes, body: bytes, stream: TokenStream) -> None:
        """An engine that was asked before goes on with its own attempt; nobody else has a word."""
        epoch = _epoch(body)
        if epoch is None or epoch >= stream.epoch:
            self._bus.unread.message(subject.decode(), "its engine was not asked")
        self._strays.heard(subject, body)

    def _hear_nonsense(self, subject: bytes, stream: TokenStream, error: Exception) -> None:
        """It counts as lost; where it is all that the engine has to say, the stream is."""
        self._bus.unread.message(subject.decode(), error)
        if stream.spoil():
            stream.fail(
                Code.INTERNAL,
                f"Engine {stream.engine} says what this gateway cannot read; "
                "run the same version of odyssai on both.",
            )
        else:
            self._ask_again(stream)

    def _cancel(self, engine: EngineId, request: RequestId, frame: bytes) -> None:
        """The attempt that the frame is of, and those before: an engine may hear this only after it
        was asked for the next one. None that is waited for.
        """
        log.info("nobody waits for %s: telling %s", request, engine)
        stream = self._streams.get(request.encode())
        epoch = _epoch(frame) if stream is None else stream.epoch - 1
        self._begin(self._bus.publish(CANCEL, Cancel(request=request, epoch=epoch), engine))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _replay_all(self) -> None:
        for stream in self._streams.values():
            self._ask_again(stream)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            for stream in list(self._streams.values()):
                self._keep_within_credit(stream)
                if stream.credit.is_held:
                    stream.heard_at = now
                elif now - stream.heard_at > stream.patience_s:
                    stream.heard_at = now
                    stream.patience_s = min(2 * stream.patience_s, LONGEST_SILENCE_S)
                    self._ask_again(stream)

    def _keep_within_credit(self, stream: TokenStream) -> None:
        """Tell its engine to hold while its reader is far behind, and then to go on."""
        if stream.engine is None or stream.is_over or not stream.may_hold:
            return
        for_s = stream.credit.due(stream.waiting, time.monotonic())
        if for_s is not None:
            hold = Hold(request=stream.request, epoch=stream.epoch, seq=stream.want, for_s=for_s)
            self._begin(self._bus.publish(HOLD, hold, stream.engine))

    def _ask_again(self, stream: TokenStream) -> None:
        if stream.engine is None or stream.is_over or stream in self._asking:
            return
        self._asking.add(stream)
        self._begin(self._replay(stream))

    async def _replay(self, stream: TokenStream) -> None:
        assert stream.engine is not None
        epoch, want = stream.epoch, stream.want
        try:
            await self._bus.ask(REPLAY, Replay(request=stream.request, seq=want), stream.engine)
        except MeshError as error:
            # What came meanwhile, the engine may have been told to forget.
            if (stream.epoch, stream.want) == (epoch, want):
                stream.fail(error.code, error.message)
        except NobodyThere:
            if stream.epoch == epoch and stream.miss():
                stream.fail(Code.ENGINE_LOST, f"Engine {stream.engine} was lost while answering.")
        except BusError as error:
            log.info("no replay of %s yet: %s", stream.request, error)
        finally:
            self._asking.discard(stream)


def _epoch(frame: bytes) -> int | None:
    """Of whose attempt a frame is; None where that cannot be read."""
    try:
        return STREAM.decode(frame).epoch
    except msgspec.DecodeError:
        return None
