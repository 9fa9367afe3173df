"""Who works for a gateway knows soon that it is gone, and is not deceived by a lost heartbeat."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus import gateways
from bus.connection import Bus
from bus.ear import STOOD_S, Ear
from bus.gateways import ABSENCES, OVERDUE_S, Gateways, answer_probes
from bus.presence import farewell
from proto.ids import GatewayId, fresh
from proto.presence import SILENCE_S, GatewayBeat, Gone, Here, Probe
from proto.subjects import GATEWAY_BEAT, PROBE


class Worker:
    """It has a request of one gateway, and a clock that moves when it is told to."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.gateway = GatewayId(f"g.{fresh()}")
        self.lost: list[GatewayId] = []
        self.probed = 0
        self._s = 100.0
        bus.ear = Ear(lambda: True, lambda: self._s)
        for _ in range(2):
            self._s += STOOD_S / 2
            bus.ear.look()
        self.gateways = Gateways(bus, lambda: [self.gateway], self.lost.append, lambda: self._s)
        self.gateways.hear(self.gateway)

    def move(self, seconds: float) -> None:
        """In steps: a clock that jumps was stopped itself."""
        while seconds > 0:
            step = min(seconds, STOOD_S / 2)
            self._s, seconds = self._s + step, seconds - step
            self.gateways._look()

    def jump(self, seconds: float) -> None:
        self._s += seconds
        self.gateways._look()

    async def probes(self) -> None:
        while self.gateways._probes:
            await asyncio.sleep(0.001)


@pytest.fixture
async def worker(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setattr(gateways, "LOOK_S", 60)
    monkeypatch.setattr(gateways, "PROBE_S", 0.05)
    worker = Worker(bus)
    watching = asyncio.create_task(worker.gateways.watch())
    await asyncio.sleep(0)
    await bus.settled()
    yield worker
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_one_whose_process_has_ended_is_known_by_nobody_being_there(worker: Worker) -> None:
    worker.move(OVERDUE_S - 0.1)
    assert not worker.gateways._probes

    worker.move(0.2)
    for absence in range(1, ABSENCES + 1):
        await worker.probes()
        assert bool(worker.lost) == (absence == ABSENCES)
        worker.move(0.05)

    assert worker.lost == [worker.gateway]


async def test_one_that_is_wedged_is_given_until_silence_proves_it(
    worker: Worker, bus: Bus
) -> None:
    async def never(_: Probe) -> Here:
        await asyncio.Event().wait()
        raise AssertionError

    await bus.answer(PROBE, never, worker.gateway)
    await bus.settled()
    worker.move(SILENCE_S - 0.1)
    await worker.probes()
    assert not worker.lost

    worker.move(0.2)

    assert worker.lost == [worker.gateway]


async def test_one_that_answers_has_only_lost_a_heartbeat(worker: Worker, bus: Bus) -> None:
    await answer_probes(bus, worker.gateway, "b")
    await bus.settled()
    for _ in range(3):
        worker.move(SILENCE_S - 0.1)
        await worker.probes()

    assert not worker.lost


async def test_a_heartbeat_is_proof_enough(worker: Worker, bus: Bus) -> None:
    for _ in range(3):
        worker.move(OVERDUE_S - 0.1)
        beat = GatewayBeat(gateway=worker.gateway, boot="b", pid=1, url="")
        await bus.publish(GATEWAY_BEAT, beat, worker.gateway)
        await bus.settled()
        assert not worker.gateways._probes

    assert not worker.lost


async def test_a_farewell_is_believed_at_once(worker: Worker, bus: Bus) -> None:
    worker.move(0.1)
    await farewell(bus, Gone(kind="gateway", id=worker.gateway))
    await bus.settled()

    assert worker.lost == [worker.gateway]


async def test_who_was_stopped_itself_takes_nobody_for_dead(worker: Worker) -> None:
    worker.jump(3600)

    assert not worker.lost
    assert not worker.gateways._probes
