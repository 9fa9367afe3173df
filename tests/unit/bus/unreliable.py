"""A network that reorders, loses, doubles and delays what a test tells it to, in its own time."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from bus.errors import NoAnswer, NobodyThere
from bus.holding import Holding
from bus.sink import TokenSink
from bus.stream import TokenSource
from bus.unread import UnreadLedger
from proto.errors import MeshError
from proto.frames import Delta, End, Progress, Timings, Usage
from proto.generation import Cancel, Replay, Replayed
from proto.ids import EngineId, GatewayId, RequestId
from proto.subjects import CANCEL, HOLD, REPLAY

GATEWAY = GatewayId("n.gateway")
REQUEST = RequestId("request")
ANSWER_S = 5.0
_PUB = re.compile(rb"PUB (\S+) (\d+)\r\n")


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes when it is told to, and never else."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        """As the module ``time`` has it."""
        return self.now_s

    def settle(self) -> None:
        """Run what can run now."""
        for _ in range(3):
            self.run_until_complete(asyncio.sleep(0))

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()


class Network:
    """What is under way, each as the act of its arrival."""

    def __init__(self, clock: Clock) -> None:
        self.flying: list[Callable[[], None]] = []
        self._clock = clock

    def send(self, arrive: Callable[[], None]) -> None:
        self.flying.append(arrive)

    def arrive_all(self) -> None:
        """In the order in which they were sent, what that brings about not included."""
        flying, self.flying = self.flying, []
        for arrive in flying:
            self._clock.call_soon(arrive)
        self._clock.settle()


class Wire:
    """An engine's token connection, as far as its sink knows it: it only ever writes."""

    def __init__(self, network: Network) -> None:
        self.is_connected = True
        self.hear: Callable[[bytes, bytes], None] = lambda subject, body: None
        self._network = network

    @property
    def _transport(self) -> "Wire":
        return self

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            head = _PUB.match(data, at)
            assert head, data[at : at + 80]
            body = data[head.end() : head.end() + int(head[2])]
            self._network.send(lambda s=head[1], b=body: self.hear(s, b))  # type: ignore[misc]
            at = head.end() + len(body) + 2


class Engine:
    """One life of an engine: what it says next is a function of what was said."""

    def __init__(self, id: EngineId, network: Network, epoch: int, said: int, total: int) -> None:
        """It goes on with an answer of ``total`` tokens of which ``said`` were said before."""
        self.id = id
        self.is_alive = True
        self.is_over = False
        self.is_held = False
        self.wire = Wire(network)
        self.sink = TokenSink(self.wire, self.id)  # type: ignore[arg-type]
        self.holding = Holding(self.sink, lambda _: self._held(True), lambda _: self._held(False))
        self.total = total
        self._epoch, self._said = epoch, said
        self._seq = 1
        self.sink.open(REQUEST, GATEWAY, epoch)
        self.sink.send([(REQUEST, Progress(epoch, 0, 1, 1, 0))])

    def _held(self, is_held: bool) -> None:
        self.is_held = is_held

    @property
    def works(self) -> bool:
        return self.is_alive and not self.is_over

    def step(self) -> None:
        if self.is_over or self.is_held:
            return
        if self._said == self.total:
            self.is_over = True
            usage = Usage(1, self.total, 0)
            frame = End(self._epoch, self._seq, "stop", usage, Timings(0.0, 0.0, 0.0))
            self.sink.send([(REQUEST, frame)])
            return
        frame = Delta(self._epoch, self._seq, f"{self._said} ", (self._said,))
        self._said, self._seq = self._said + 1, self._seq + 1
        self.sink.send([(REQUEST, frame)])

    def cancel(self, cancel: Cancel) -> None:
        if cancel.epoch is None or cancel.epoch >= self._epoch:
            self.is_over = True


class FlyingBus:
    """The control connection of a gateway: what it says flies, and may not arrive."""

    def __init__(self, network: Network) -> None:
        self.engines: dict[EngineId, Engine] = {}
        self.unread = UnreadLedger()
        self._network = network

    async def publish(self, subject: Any, message: Any, engine: EngineId) -> None:
        def arrive() -> None:
            there = self.engines[engine]
            if there.is_alive:
                {HOLD: there.holding.hear, CANCEL: there.cancel}[subject](message)

        self._network.send(arrive)

    async def ask(self, subject: Any, question: Replay, engine: EngineId) -> Replayed:
        assert subject is REPLAY
        answer: asyncio.Future[Replayed] = asyncio.get_running_loop().create_future()
        self._network.send(lambda: self._answer(engine, question, answer))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError as error:
            raise NoAnswer("no answer") from error

    def _answer(
        self, engine: EngineId, question: Replay, answer: "asyncio.Future[Replayed]"
    ) -> None:
        there = self.engines[engine]
        if not there.is_alive:
            self._network.send(lambda: _settle(answer, NobodyThere("nobody")))
            return
        try:
            next_seq = there.sink.replay(question.request, question.seq)
        except MeshError as lost:
            self._network.send(lambda e=lost: _settle(answer, e))  # type: ignore[misc]
        else:
            self._network.send(lambda: _settle(answer, Replayed(next_seq=next_seq)))


def _settle(answer: "asyncio.Future[Replayed]", what: Replayed | Exception) -> None:
    if answer.done():
        return
    if isinstance(what, Exception):
        answer.set_exception(what)
    else:
        answer.set_result(what)


def source(network: Network) -> tuple[TokenSource, FlyingBus]:
    bus = FlyingBus(network)
    return TokenSource(bus, GATEWAY), bus  # type: ignore[arg-type]
