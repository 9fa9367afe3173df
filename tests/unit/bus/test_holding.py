"""A hold lasts as long as it is said again in time, and no message that is lost does harm."""

import asyncio

import pytest

from bus.holding import Holding
from bus.sink import TokenSink
from proto.errors import MeshError
from proto.frames import Delta
from proto.generation import Hold
from proto.ids import EngineId, GatewayId, RequestId

R = RequestId("r")


class Deaf:
    """A connection that is down: frames go to the ring alone."""

    is_connected = False
    _transport = None


@pytest.fixture
def sink() -> TokenSink:
    sink = TokenSink(Deaf(), EngineId("n.e"))  # type: ignore[arg-type]
    sink.open(R, GatewayId("n.g"))
    return sink


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def holding(sink: TokenSink, done: list[str]) -> Holding:
    return Holding(sink, lambda _: done.append("hold"), lambda _: done.append("go on"))


def hold(for_s: float, seq: int = 0) -> Hold:
    return Hold(request=R, epoch=0, seq=seq, for_s=for_s)


async def test_a_hold_that_is_repeated_is_one(holding, done):
    for _ in range(3):
        holding.hear(hold(60))
    holding.hear(hold(0))
    holding.hear(hold(0))

    assert done == ["hold", "go on"]


async def test_a_hold_that_is_not_repeated_runs_out(holding, done):
    holding.hear(hold(0.01))
    async with asyncio.timeout(5):
        while len(done) < 2:
            await asyncio.sleep(0.005)

    assert done == ["hold", "go on"]
    holding.hear(hold(60))
    assert done[2:] == ["hold"]


async def test_nobody_is_held_whose_stream_is_unknown(holding, done):
    holding.hear(Hold(request=RequestId("other"), epoch=0, seq=0, for_s=60))

    assert done == []


async def test_a_hold_of_an_earlier_attempt_is_of_no_account(holding, sink, done):
    sink.open(R, GatewayId("n.g"), epoch=1)
    sink.send([(R, Delta(1, 0, "x", (0,)))])
    holding.hear(hold(60, seq=9))

    assert done == []
    assert sink.replay(R, 0) == 1


async def test_what_the_gateway_has_is_not_kept(holding, sink):
    sink.send([(R, Delta(0, seq, "x", (seq,))) for seq in range(10)])
    holding.hear(hold(60, seq=8))

    assert sink.replay(R, 8) == 10
    with pytest.raises(MeshError):
        sink.replay(R, 7)
    holding.hear(hold(60, seq=10))
    assert sink.replay(R, 10) == 10
