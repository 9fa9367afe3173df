"""Whatever the network does to frames, and wherever an engine dies: the client's text is the text.

The real sink, source, stream, credit and holds, over a network that reorders, loses, doubles and
delays, in a time that passes only when told. ``HYPOTHESIS_PROFILE=long`` looks for much longer.
"""

import os

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import bus.credit
import bus.sink
import bus.stream
import bus.token_stream
from bus.token_stream import TokenStream
from proto.errors import Code
from proto.frames import AnyFrame, Delta, End, Failed
from proto.ids import EngineId
from proto.subjects import STREAM
from tests.unit.bus.unreliable import GATEWAY, REQUEST, Clock, Engine, Network, source

TOKENS = 12
RING, EARLY, WINDOW = 6, 4, 3
"""So few that all of them run over."""
LOOK_S = 0.25
ANY = st.integers(0, 1000)
ENDLESS = 1 << 30
"""Tokens of an engine that only a cancel ends."""


class Stream(RuleBasedStateMachine):
    """One answer, from the engines that make it to the client that reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self._patches = pytest.MonkeyPatch()
        for module, name, value in (
            (bus.sink, "RING_FRAMES", RING), (bus.sink, "time", self.clock),
            (bus.token_stream, "EARLY_FRAMES", EARLY), (bus.token_stream, "time", self.clock),
            (bus.stream, "WINDOW", WINDOW), (bus.stream, "time", self.clock),
            (bus.credit, "WINDOW", WINDOW),
        ):  # fmt: skip
            self._patches.setattr(module, name, value)
        self.network = Network(self.clock)
        self.source, self.control = source(self.network)
        self.seen: list[int] = []
        self.is_complete = False
        self.attempts = 0
        self.engines: list[Engine] = []

    @initialize()
    def begin(self) -> None:
        self._watching = self.clock.create_task(self.source._watch())
        self.go_on()

    def go_on(self) -> None:
        """The next attempt, at an engine that is handed what the client has: at the one that died,
        in its next life, or at another.
        """
        stream = self.source.open(REQUEST)
        is_reborn = bool(self.engines) and not self.engine.is_alive
        id = self.engine.id if is_reborn else EngineId(f"n.engine{self.attempts}")
        engine = Engine(id, self.network, self.attempts, len(self.seen), TOKENS)
        engine.wire.hear = self.source._hear
        self.control.engines[engine.id] = engine
        self.engines.append(engine)
        stream.attach(engine.id, self.attempts)
        self.stream: TokenStream = stream
        self.attempts += 1

    @property
    def engine(self) -> Engine:
        return self.engines[-1]

    # What engines do

    @rule(which=ANY, steps=st.integers(1, 8))
    def step(self, which: int, steps: int) -> None:
        working = [engine for engine in self.engines if engine.works]
        for _ in range(steps if working else 0):
            working[which % len(working)].step()
        self.clock.settle()

    @precondition(lambda self: self.engine.is_alive)
    @rule()
    def crash(self) -> None:
        self.engine.is_alive = False

    @precondition(lambda self: not self.engine.is_alive)
    @rule()
    def notice_the_crash(self) -> None:
        self.stream.fail(Code.ENGINE_LOST, "lost")

    @precondition(lambda self: self.attempts < 6)
    @rule()
    def take_it_for_dead(self) -> None:
        """It lives, and says more of what is said elsewhere by now."""
        self.stream.fail(Code.ENGINE_LOST, "silent")

    @rule()
    def cut_its_line(self) -> None:
        self.engine.wire.is_connected = False

    @rule()
    def reconnect(self) -> None:
        self.engine.wire.is_connected = True
        self.clock.call_soon(self.source._replay_all)
        self.clock.settle()

    # What the network does

    @precondition(lambda self: self.network.flying)
    @rule(which=ANY)
    def deliver(self, which: int) -> None:
        self.network.arrive(which % len(self.network.flying))

    @rule()
    def deliver_all(self) -> None:
        self.network.arrive_all()

    @precondition(lambda self: self.network.flying)
    @rule(which=ANY)
    def lose(self, which: int) -> None:
        self.network.flying.pop(which % len(self.network.flying))

    @precondition(lambda self: self.network.flying)
    @rule(which=ANY)
    def double(self, which: int) -> None:
        self.network.flying.append(self.network.flying[which % len(self.network.flying)])

    @rule(quarters=st.integers(1, 12))
    def wait(self, quarters: int) -> None:
        for _ in range(quarters):
            self.clock.pass_s(LOOK_S)

    @precondition(lambda self: not self.is_complete)
    @rule(body=st.sampled_from([b"", b"\xc1", b"\x93\x63\x00\x00", b"\x93\x02\x00\xc0"]))
    def garble(self, body: bytes) -> None:
        """Nothing, nonsense, a frame of a kind from the future, one whose number is none."""
        address = STREAM.at(GATEWAY, self.engine.id, REQUEST).encode()
        before = self.control.unread.messages
        self.clock.call_soon(self.source._hear, address, body)
        self.clock.settle()
        assert self.control.unread.messages == before + 1

    # What the client does

    @rule()
    def read(self) -> None:
        for frame in self.stream.take():
            self.take(frame)

    def take(self, frame: AnyFrame) -> None:
        match frame:
            case Delta(tokens=(token,)):
                self.seen.append(token)
            case End():
                self.is_complete = True
                self.source.close(self.stream)
            case Failed():
                self.go_on()

    @invariant()
    def the_client_has_the_beginning_of_the_text(self) -> None:
        assert self.seen == list(range(len(self.seen)))
        assert len(self.seen) <= TOKENS
        assert not self.is_complete or len(self.seen) == TOKENS

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert len(self.stream._early) <= EARLY
        for engine in self.engines:
            assert len(engine.sink._streams[REQUEST].ring) <= RING

    def teardown(self) -> None:
        """Once nothing is lost any more, the client has all of it, and nobody works for nobody."""
        try:
            if self.engines:
                self.heal()
                assert self.seen == list(range(TOKENS))
                assert not any(engine.works for engine in self.engines)
        finally:
            self._patches.undo()
            self.end()

    def heal(self) -> None:
        for engine in self.engines:
            engine.wire.is_connected = True
        for stale in self.engines[:-1]:
            stale.total = ENDLESS
        for _ in range(1000):
            if self.is_complete and not any(engine.works for engine in self.engines):
                return
            if not self.engine.is_alive and not self.is_complete:
                self.notice_the_crash()
            for engine in self.engines:
                if engine.works:
                    engine.step()
            self.network.arrive_all()
            self.read()
            self.clock.pass_s(LOOK_S)

    def end(self) -> None:
        for task in [getattr(self, "_watching", None), *self.source._tasks]:
            if task is not None:
                task.cancel()
        self.clock.settle()
        self.clock.close()


TestStream = Stream.TestCase
IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
TestStream.settings = settings(
    max_examples=20_000 if IS_LONG else 60,
    stateful_step_count=100 if IS_LONG else 40,
    # What CI finds is the same again elsewhere, where there is time to make it small.
    phases=tuple(Phase) if IS_LONG else (Phase.explicit, Phase.generate),
    derandomize=not IS_LONG,
    deadline=None,
)
