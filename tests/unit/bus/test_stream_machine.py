"""Whatever the network does to frames, and wherever an engine dies: the client reads the text.

The real sink, source, stream, credit and holds, over a network that reorders, loses, doubles and
delays, in a time that passes only when told. ``HYPOTHESIS_PROFILE=long`` looks for much longer.
"""

import os
import random
from itertools import cycle

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
from tests.unit.bus.unreliable import REQUEST, Clock, Engine, Network, source

TOKENS = 12
RING, EARLY, WINDOW = 6, 4, 3
"""So few that all of them run over."""
LOOK_S = 0.25
ANY = st.integers(0, 1000)
FATES = st.lists(
    st.sampled_from([*4 * ["comes"], "is lost", "late", "twice"]), min_size=1, max_size=8
)
QUIET = 48
"""Seconds after which every question that was lost was asked again, and every hold has run out."""
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
        self.source._strays._clock = self.clock.monotonic
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

    # What engines do, and what becomes of it on the way

    @rule(steps=st.integers(1, 8), fates=FATES)
    def step(self, steps: int, fates: list[str]) -> None:
        for _ in range(steps):
            self.engine.step()
        self.meet(fates)

    @precondition(lambda self: any(engine.works for engine in self.engines[:-1]))
    @rule(which=ANY, steps=st.integers(1, 8), fates=FATES)
    def step_of_one_that_was_left(self, which: int, steps: int, fates: list[str]) -> None:
        left = [engine for engine in self.engines[:-1] if engine.works]
        for _ in range(steps):
            left[which % len(left)].step()
        self.meet(fates)

    @rule(steps=st.integers(1, 4))
    def flow(self, steps: int) -> None:
        """All goes well for once."""
        for _ in range(steps):
            self.engine.step()
            self.look()

    @precondition(lambda self: self.network.flying)
    @rule(order=st.randoms(use_true_random=False), fates=FATES)
    def overtake(self, order: random.Random, fates: list[str]) -> None:
        order.shuffle(self.network.flying)
        self.meet(fates)

    def meet(self, fates: list[str]) -> None:
        """Each of those under way its own, in turn."""
        self.clock.settle()
        flying, self.network.flying = self.network.flying, []
        for arrive, fate in zip(flying, cycle(fates)):
            if fate in ("late", "twice"):
                self.network.flying.append(arrive)
            if fate in ("comes", "twice"):
                self.clock.call_soon(arrive)
        self.clock.settle()

    @rule(quarters=st.integers(1, 12))
    def wait(self, quarters: int) -> None:
        for _ in range(quarters):
            self.clock.pass_s(LOOK_S)

    # What goes wrong

    @rule(
        what=st.sampled_from(["it dies", "it goes on", "its line is cut", "it is taken for dead"])
    )
    def lose(self, what: str) -> None:
        """Whoever is left, since it is taken for dead, says more of what is said elsewhere."""
        if what == "it dies":
            self.engine.is_alive = False
        elif what == "it goes on" and self.attempts < 12:
            self.engine.is_alive = False
            self.notice_the_death()
            self.read()
        elif what == "its line is cut":
            self.engine.wire.is_connected = False
        elif self.attempts < 6:
            self.stream.fail(Code.ENGINE_LOST, "silent")

    @precondition(lambda self: not self.engine.is_alive)
    @rule()
    def notice_the_death(self) -> None:
        self.stream.fail(Code.ENGINE_LOST, "lost")

    @precondition(lambda self: not self.engine.wire.is_connected)
    @rule()
    def reconnect(self) -> None:
        self.engine.wire.is_connected = True
        self.clock.call_soon(self.source._replay_all)
        self.clock.settle()

    @precondition(lambda self: not self.is_complete)
    @rule(body=st.sampled_from([b"", b"\xc1", b"\x93\x63\x00\x00", b"\x93\x02\x00\xc0"]))
    def garble(self, body: bytes) -> None:
        """Nothing, nonsense, a frame of a kind from the future, one whose number is none."""
        before = self.control.unread.messages
        self.clock.call_soon(self.source._hear, self.stream.address, body)
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
        try:
            if self.engines:
                self.heal()
        finally:
            self._patches.undo()
            self.end()

    def heal(self) -> None:
        """Nothing is lost any more: whoever was left is told so, what is missing comes again, and
        the client has all of it in the end.
        """
        for engine in self.engines:
            engine.wire.is_connected = True
        for left in self.engines[:-1]:
            left.total = ENDLESS
        self.catch_up()
        assert not any(engine.works for engine in self.engines[:-1])
        attempts = self.attempts
        for _ in range(4 * TOKENS):
            self.engine.step()
            self.look()
        assert self.seen == list(range(TOKENS))
        assert self.is_complete
        assert self.attempts == attempts

    def catch_up(self) -> None:
        """The engine waits meanwhile; nothing that it still has is a reason to go elsewhere."""
        attempts, engine, is_over = self.attempts, self.engine, self.stream.is_over
        has_all = engine.sink._streams[REQUEST].first_seq <= self.stream.want
        for _ in range(QUIET):
            if not self.engine.is_alive and not self.is_complete:
                self.notice_the_death()
            for left in self.engines[:-1]:
                if left.works:
                    left.step()
            self.look()
        if engine.is_alive and has_all and not is_over:
            assert self.attempts == attempts
        if not self.is_complete:
            assert self.stream.want == self.engine.sink._streams[REQUEST].next_seq
            assert not self.engine.is_held

    def look(self) -> None:
        self.network.arrive_all()
        self.read()
        self.clock.pass_s(1.0)

    def end(self) -> None:
        for task in [getattr(self, "_watching", None), *self.source._tasks]:
            if task is not None:
                task.cancel()
        self.clock.settle()
        self.clock.close()


TestStream = Stream.TestCase
IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
TestStream.settings = settings(
    max_examples=20_000 if IS_LONG else 50,
    stateful_step_count=100 if IS_LONG else 40,
    # What CI finds is the same again elsewhere, where there is time to make it small.
    phases=tuple(Phase) if IS_LONG else (Phase.explicit, Phase.generate),
    derandomize=not IS_LONG,
    deadline=None,
)
