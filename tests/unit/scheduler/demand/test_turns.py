"""Models that cannot coexist take turns: a node, a clock and waiting clients, simulated."""

import dataclasses
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from proto.config import Config, LoadingConfig
from proto.memory import HEADROOM_BYTES, Footprint, Grant
from proto.plan import NodePlan, Placement
from proto.presence import EngineBeat, NodeBeat
from proto.store import Store
from services.scheduler.demand.room import Claim, make_room
from services.scheduler.placing.placing import Wish, choose
from services.scheduler.view import View
from tests.unit.scheduler import fleet

RESIDENCE_S = 10.0
LOAD_S = 3.0
DRAIN_S = 2.0
"""How long the streams of a drained engine still run."""
STEP_S = 0.5
SIZE = 10


@dataclass
class Node:
    """One node under constant load for all models: whatever is not served, waits."""

    models: tuple[str, ...]
    slots: int
    now_s: float = 0.0
    placements: dict[str, Placement] = field(default_factory=dict)
    ready_since: dict[str, float] = field(default_factory=dict)
    drained_at: dict[str, float] = field(default_factory=dict)
    waiting_since: dict[str, float] = field(default_factory=dict)
    turns: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    residences: list[float] = field(default_factory=list)
    overtaken: int = 0
    """How often somebody got a turn while another had waited longer."""

    def run(self, until_s: float) -> None:
        while self.now_s < until_s:
            self._go_on()
            self._let_wait()
            self._take_turns()
            self.now_s += STEP_S

    def _go_on(self) -> None:
        for model, placement in list(self.placements.items()):
            if placement.is_draining and self.now_s >= self.drained_at[model] + DRAIN_S:
                del self.placements[model]
                del self.ready_since[model]
            elif model not in self.ready_since and self.now_s >= placement.placed_s + LOAD_S:
                self.ready_since[model] = self.now_s
                self.waits.append(self.now_s - self.waiting_since.pop(model))

    def _let_wait(self) -> None:
        for model in self.models:
            placement = self.placements.get(model)
            if placement is None or placement.is_draining:
                self.waiting_since.setdefault(model, self.now_s)

    def _take_turns(self) -> None:
        waiting = [m for m in self.waiting_since if m not in self.placements]
        claims = [Claim(m, "demand", self.waiting_since[m]) for m in waiting]
        promised = 0
        for claim in sorted(claims, key=lambda c: c.turn):
            room = make_room(self._view(), "n", SIZE, claim, promised)
            if room.is_there:
                self.overtaken += promised > 0
                self._place(claim.model)
                continue
            promised += SIZE
            for engine in room.evict:
                self._drain(engine)

    def _place(self, model: str) -> None:
        grant = Grant(weights_bytes=SIZE, kv_bytes=0, headroom_bytes=0, context=1, kv_tokens=1)
        self.turns.append(model)
        self.placements[model] = Placement(
            engine=model, model=model, source=model, grant=grant, origin="demand",
            placed_s=self.now_s,
        )  # fmt: skip

    def _drain(self, model: str) -> None:
        self.drained_at[model] = self.now_s
        self.residences.append(self.now_s - self.ready_since[model])
        self.placements[model] = replace(self.placements[model], is_draining=True)

    def _view(self) -> View:
        node = NodeBeat(
            node="n", boot="b", pid=1, host="h", platform="p", free_bytes=1000,
            wirable_bytes=SIZE * self.slots,
        )  # fmt: skip
        return View(
            now_s=self.now_s,
            clock_s=self.now_s,
            nodes={"n": node},
            engines={model: self._beat(model) for model in self.placements},
            plans={"n": NodePlan(node="n", placements=tuple(self.placements.values()))},
            config=Config(loading=LoadingConfig(min_residence_s=RESIDENCE_S)),
            ready_since=self.ready_since,
        )

    def _beat(self, model: str) -> EngineBeat:
        state = "ready" if model in self.ready_since else "loading"
        return EngineBeat(
            engine=model, node="n", boot="b", pid=1, state=state, models=(), running=1
        )


@pytest.mark.parametrize(("models", "slots"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 3)])
def test_every_model_gets_its_turn_again_and_again_in_the_order_of_waiting(
    models: str, slots: int
) -> None:
    node = Node(tuple(models), slots)
    node.run(600.0)

    assert min(node.turns.count(model) for model in models) >= 7
    assert node.overtaken == 0


@pytest.mark.parametrize(("models", "slots"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 3)])
def test_no_model_comes_and_goes_faster_than_its_residence(models: str, slots: int) -> None:
    node = Node(tuple(models), slots)
    node.run(600.0)

    assert min(node.residences) >= RESIDENCE_S
    assert len(node.turns) <= slots * (600.0 / RESIDENCE_S)


@pytest.mark.parametrize("models", ["ab", "abc", "abcdef"])
def test_nobody_waits_longer_than_the_turns_of_all_others(models: str) -> None:
    node = Node(tuple(models), slots=1)
    node.run(900.0)

    turn_s = LOAD_S + RESIDENCE_S + DRAIN_S + 3 * STEP_S
    assert max(node.waits) <= (len(models) - 1) * turn_s + DRAIN_S + LOAD_S
    assert max(node.waits) >= (len(models) - 2) * RESIDENCE_S


def test_models_that_fit_together_never_go() -> None:
    node = Node(("a", "b"), slots=2)
    node.run(300.0)

    assert node.turns == ["a", "b"]


def test_a_node_that_others_wait_for_is_not_chosen_while_another_would_do() -> None:
    nodes = ("a", "b")
    footprint = Footprint(weights_bytes=SIZE, kv_bytes_per_token=0, context_length=4096)
    wanted = fleet.stored("new", footprint=footprint)
    seen = View(
        now_s=fleet.NOW,
        clock_s=fleet.NOW,
        nodes={name: fleet.node(name=name, wirable=2 * HEADROOM_BYTES) for name in nodes},
        plans={
            name: NodePlan(node=name, placements=(fleet.placement(name, 2 * HEADROOM_BYTES),))
            for name in nodes
        },
        stores={name: Store(node=name, models=(wanted,)) for name in nodes},
    )
    wish = Wish(model="new")

    assert choose(seen, wish, 1) == ("a",)
    assert choose(dataclasses.replace(seen, promised={"a": SIZE}), wish, 1) == ("b",)
