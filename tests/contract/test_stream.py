"""What every token stream keeps: frames in order, each once, whatever the bus loses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvloop

from bus import token_stream
from bus.connection import Bus
from bus.credit import WINDOW
from bus.sink import TokenSink, answer_replays, digest_of
from bus.stream import TokenSource
from bus.token_stream import MOST_SPOILED, TokenStream
from proto.errors import MeshError
from proto.frames import AnyFrame, Delta, End, Failed, Timings, Usage
from proto.generation import Cancel, Generate
from proto.ids import EngineId, GatewayId, ModelId, RequestId, fresh
from proto.prompt import Text
from proto.subjects import CANCEL, HOLD, STREAM
from tests.conftest import NatsServer

END = (Usage(1, 1, 0), Timings(0.0, 0.0, 0.0))


def delta(seq: int, epoch: int = 0) -> Delta:
    return Delta(epoch, seq, f"t{seq}", (seq,))


def lose(sink: TokenSink, request: RequestId, frame: AnyFrame) -> None:
    """On the way: it is in the ring, and was never written."""
    outgoing = sink._streams[request]
    outgoing.ring.append((frame.seq, STREAM.encode(frame)))
    outgoing.next_seq = frame.seq + 1


class Pair:
    """An engine's sink and a gateway's source, as two processes would have them."""

    def __init__(self, engine: EngineId, sink: TokenSink, source: TokenSource) -> None:
        self.engine = engine
        self.sink = sink
        self.source = source

    def open(self, gateway: GatewayId, request: str) -> TokenStream:
        stream = self.source.open(RequestId(request))
        stream.attach(self.engine, 0)
        self.sink.open(RequestId(request), gateway)
        return stream


@asynccontextmanager
async def pair(url: str) -> AsyncIterator[tuple[Pair, GatewayId]]:
    engine, gateway = EngineId(f"n.{fresh()}"), GatewayId(f"g.{fresh()}")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        engine_bus = await enter(Bus.connect(url, f"engine:{engine}"))
        gateway_bus = await enter(Bus.connect(url, f"gateway:{gateway}"))
        sink = await enter(TokenSink.connect(url, engine))
        await answer_replays(engine_bus, sink, engine)
        await engine_bus.settled()
        source = await enter(TokenSource.connect(gateway_bus, gateway))
        yield Pair(engine, sink, source), gateway


async def read(stream: TokenStream, until: int) -> list[AnyFrame]:
    frames: list[AnyFrame] = []
    async with asyncio.timeout(10):
        while len(frames) < until:
            await stream.ready()
            frames += stream.take()
    return frames


async def test_frames_arrive_in_order_and_the_last_ends_the_stream(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        sent = [delta(0), delta(1), End(0, 2, "stop", *END)]
        mesh.sink.send([(RequestId("r1"), frame) for frame in sent])

        assert await read(stream, 3) == sent
        assert stream.is_over


async def test_once_both_ends_are_settled_every_frame_that_was_sent_is_there(
    nats_url: str,
) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        sent = [*(delta(seq) for seq in range(500)), End(0, 500, "stop", *END)]
        mesh.sink.send([(RequestId("r1"), frame) for frame in sent])
        await mesh.sink.settled()
        await mesh.source.settled()

        assert stream.take() == sent


async def test_streams_of_many_requests_do_not_mix(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        streams = [mesh.open(gateway, f"r{i}") for i in range(50)]
        for seq in range(20):
            mesh.sink.send([(s.request, delta(seq)) for s in streams])

        for stream in streams:
            assert await read(stream, 20) == [delta(seq) for seq in range(20)]


async def test_a_lost_frame_is_asked_for_and_nothing_comes_twice(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        for seq in range(5):
            frame = (stream.request, delta(seq))
            if seq in (1, 2):
                lose(mesh.sink, *frame)
            else:
                mesh.sink.send([frame])

        assert await read(stream, 5) == [delta(seq) for seq in range(5)]
        assert mesh.source.gaps >= 1


async def test_a_later_attempt_at_the_same_engine_takes_the_place_of_the_earlier(
    nats_url: str,
) -> None:
    async with pair(nats_url) as (mesh, gateway):
        first = mesh.open(gateway, "r1")
        mesh.sink.send([(first.request, Failed(0, 0, "engine_lost", ""))])
        stream = mesh.source.open(first.request)
        stream.attach(mesh.engine, 1)
        assert not mesh.sink.knows(first.request, 1)
        mesh.sink.open(first.request, gateway, 1)

        mesh.sink.send([(first.request, delta(1, epoch=0)), (first.request, delta(0, epoch=1))])
        lose(mesh.sink, first.request, delta(1, epoch=1))

        assert await read(stream, 2) == [delta(seq, epoch=1) for seq in range(2)]
        assert mesh.sink.knows(first.request, 1)


async def test_an_engine_that_is_not_there_twice_in_a_row_is_lost(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_stream, "ABSENT_S", 0.05)
    async with pair(nats_url) as (mesh, _):
        stream = mesh.source.open(RequestId("r1"))
        stream.attach(EngineId("n.nobody"), 0)
        stream.patience_s = 0.0

        (failed,) = await read(stream, 1)

        assert isinstance(failed, Failed)
        assert failed.code == "engine_lost"


async def test_a_lost_tail_is_found_by_silence(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        mesh.sink.send([(stream.request, delta(0))])
        end = End(0, 1, "stop", *END)
        lose(mesh.sink, stream.request, end)

        assert (await read(stream, 2))[-1] == end


async def test_frames_of_an_older_attempt_are_dropped(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        stream.attach(mesh.engine, 1)
        mesh.sink.send([(stream.request, delta(0, epoch=0)), (stream.request, delta(0, epoch=1))])

        assert await read(stream, 1) == [delta(0, epoch=1)]


async def test_a_stream_the_engine_no_longer_knows_fails(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        mesh.sink.send([(stream.request, delta(0))])
        await read(stream, 1)
        mesh.sink._streams.clear()  # As a restarted engine would be.

        last = (await read(stream, 1))[0]
        assert isinstance(last, Failed)
        assert last.code == "engine_lost"


async def test_malformed_frames_are_dropped(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        address = STREAM.at(gateway, mesh.engine, "r1")
        await mesh.sink._client.publish(address, b"\xc1nonsense")
        await mesh.sink._client.flush()
        mesh.sink.send([(stream.request, delta(0))])

        assert await read(stream, 1) == [delta(0)]
        assert mesh.source._bus.unread.messages == 1


async def test_frames_of_an_engine_that_was_not_asked_are_dropped(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        forged = STREAM.at(gateway, "other.e", "r1")
        await mesh.sink._client.publish(forged, STREAM.encode(delta(0)))
        await mesh.sink._client.flush()
        mesh.sink.send([(stream.request, delta(0)), (stream.request, delta(1))])

        assert await read(stream, 2) == [delta(0), delta(1)]
        assert mesh.source._bus.unread.messages == 1


async def test_an_engine_that_is_unreadable_again_and_again_ends_its_stream(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway):
        stream = mesh.open(gateway, "r1")
        address = STREAM.at(gateway, mesh.engine, "r1")
        for _ in range(MOST_SPOILED):
            await mesh.sink._client.publish(address, b"\xc1from a newer version")

        (last,) = await read(stream, 1)
        assert isinstance(last, Failed)
        assert "same version" in last.message
        assert mesh.source._bus.unread.messages == MOST_SPOILED


async def test_an_engine_is_told_that_nobody_waits_for_its_frames(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway), Bus.connect(nats_url, "engine:n.other") as bus:
        cancels: asyncio.Queue[tuple[EngineId, RequestId, int | None]] = asyncio.Queue()
        for engine in (mesh.engine, EngineId("n.other")):

            def hear(cancel: Cancel, engine: EngineId = engine) -> None:
                cancels.put_nowait((engine, cancel.request, cancel.epoch))

            await bus.listen(CANCEL, hear, engine)
        await bus.settled()
        stream = mesh.open(gateway, "r1")
        stream.attach(EngineId("n.other"), 1)  # It was taken over, while the first one was away.
        mesh.sink.send([(stream.request, delta(0))])
        late = (mesh.engine, RequestId("r1"), 0)
        assert await asyncio.wait_for(cancels.get(), 5) == late

        # Of a request that is over, or not asked again yet.
        mesh.sink.open(RequestId("r0"), gateway)
        mesh.sink.send([(RequestId("r0"), delta(seq)) for seq in range(50)])
        # That attempt alone: an engine may hear of it after it was asked for the next one.
        assert await asyncio.wait_for(cancels.get(), 5) == (mesh.engine, RequestId("r0"), 0)
        assert cancels.empty()


async def test_a_killed_server_costs_no_token_and_doubles_none(nats_server: NatsServer) -> None:
    async with pair(nats_server.url) as (mesh, gateway):
        streams = [mesh.open(gateway, f"r{i}") for i in range(16)]

        under_way = asyncio.Event()

        async def generate() -> None:
            for seq in range(200):
                if seq == 20:
                    under_way.set()
                mesh.sink.send([(s.request, delta(seq)) for s in streams])
                await asyncio.sleep(0.005)
            mesh.sink.send([(s.request, End(0, 200, "stop", *END)) for s in streams])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(generate())
            readers = [tasks.create_task(read(s, 201)) for s in streams]
            await under_way.wait()
            nats_server.kill()
            nats_server.start()

        wanted = [delta(seq) for seq in range(200)]
        assert all(reader.result()[:-1] == wanted for reader in readers)


def test_a_socket_that_dies_while_frames_are_sent_costs_none(nats_url: str) -> None:
    async def run() -> list[int]:
        async with pair(nats_url) as (ends, gateway):
            stream = ends.open(gateway, "r")
            # The loop that services run on refuses a closed socket before nats-py knows of it.
            ends.sink._client._transport._io_writer.transport.abort()
            await asyncio.sleep(0)
            assert ends.sink._client.is_connected
            ends.sink.send([(stream.request, delta(seq)) for seq in range(3)])
            return [frame.seq for frame in await read(stream, 3)]

    assert uvloop.run(run()) == [0, 1, 2]


def asked(gateway: GatewayId, text: str = "Hi", epoch: int = 0) -> Generate:
    prompt = Text(text=text)
    return Generate(
        request=RequestId("r1"), gateway=gateway, model=ModelId("m"), prompt=prompt, epoch=epoch
    )


async def test_a_stream_goes_to_another_gateway_that_asks_the_same_and_to_nobody_else(
    nats_url: str,
) -> None:
    async with pair(nats_url) as (mesh, first), pair(nats_url) as (other, second):
        mesh.sink.open(RequestId("r1"), first, 0, digest_of(asked(first)))
        mesh.sink.send([(RequestId("r1"), delta(0))])
        stream = other.source.open(RequestId("r1"))
        stream.attach(mesh.engine, 0)
        for stranger in (asked(second, "Guess"), asked(second, epoch=1)):
            with pytest.raises(MeshError, match="no longer holds"):
                mesh.sink.resend(stranger)

        mesh.sink.resend(asked(second))
        mesh.sink.send([(RequestId("r1"), End(0, 1, "stop", *END))])

        assert await read(stream, 2) == [delta(0), End(0, 1, "stop", *END)]
        mesh.sink.forget(RequestId("r1"), 1)
        with pytest.raises(MeshError, match="no longer holds"):
            mesh.sink.resend(asked(first))


async def test_who_gathers_a_whole_answer_lets_no_engine_wait(nats_url: str) -> None:
    async with pair(nats_url) as (mesh, gateway), Bus.connect(nats_url, "test:holds") as bus:
        held: list[RequestId] = []
        await bus.listen(HOLD, lambda hold: held.append(hold.request), mesh.engine)
        await bus.settled()
        gathered, read_along = mesh.open(gateway, "r1"), mesh.open(gateway, "r2")
        gathered.may_hold = False
        for request in ("r1", "r2"):
            frames = [delta(seq) for seq in range(2 * WINDOW)]
            mesh.sink.send([(RequestId(request), frame) for frame in frames])
        async with asyncio.timeout(10):
            while not held:
                await asyncio.sleep(0.01)

        assert held == [read_along.request]
