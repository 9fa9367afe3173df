"""`odyssai plan`, as a scheduler answers it."""

import json

import pytest

from proto.choice import Choice, Hop, Share, Weigh, Weighed
from proto.ids import ModelId
from proto.memory import Grant
from proto.subjects import WEIGH
from tests.scripted_leader import ScriptedLeader
from tests.unit.ops.console.conftest import Odyssai

GB = 10**9


def share(node: str, **fields: int | bool) -> Share:
    grant = Grant(weights_bytes=6 * GB, kv_bytes=GB, headroom_bytes=0, context=4096, kv_tokens=8192)
    return Share(**({"node": node, "grant": grant, "free_bytes": 9 * GB} | fields))


FITS = Choice(
    way="pipeline",
    shares=(share("a", layers=7, is_stored=True), share("b", layers=3)),
    backend="ring",
    hop=Hop(latency_s=61e-6, bytes_per_s=1.18e9, is_measured=True, tokens_per_s=412.4),
    tokens_per_s=38.21,
    speed=0.9,
)
REFUSED = Choice(way="solo", shares=(share("a"),), why_not="a has too little", speed=1.0)


@pytest.fixture
async def asked(leader: ScriptedLeader) -> list[Weigh]:
    heard: list[Weigh] = []

    async def weigh(question: Weigh) -> Weighed:
        heard.append(question)
        found = (REFUSED,) if question.ranks == 1 else (FITS, REFUSED)
        return Weighed(model=question.model, choices=found)

    await leader.bus.answer(WEIGH, weigh, group="scheduler")
    await leader.bus.settled()
    return heard


async def test_ways_are_listed_with_what_each_node_takes(
    odyssai: Odyssai, asked: list[Weigh]
) -> None:
    said = await odyssai("plan", "org/m", "--split", "pipeline", "--nodes", "a,b")

    _, first, second = said.out.splitlines()
    assert first.startswith("pipeline × 2 (ring)  a 7.0 GB of 9.0 GB (7 layers); b 7.0 GB")
    assert "61 µs, 1.2 GB/s measured: 412 tokens/s" in first
    assert "2 × 4096" in first
    assert first.endswith("38.2 tokens/s  this one: files go to b first")
    assert second.endswith("1 × one node   a has too little")
    assert asked == [Weigh(model="org/m", way="pipeline", nodes=("a", "b"))]


async def test_programs_get_all_of_it_and_know_when_there_is_no_way(
    odyssai: Odyssai, asked: list[Weigh]
) -> None:
    said = await odyssai("plan", "org/m", "--ranks", "1", "--json")

    assert said.status == 1
    assert json.loads(said.out)["choices"][0]["why_not"] == "a has too little"


async def test_that_several_nodes_have_no_draft_is_said(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    async def weigh(question: Weigh) -> Weighed:
        return Weighed(model=question.model, choices=(FITS,), draft=ModelId("org/small"))

    await leader.bus.answer(WEIGH, weigh, group="scheduler")
    await leader.bus.settled()
    said = await odyssai("plan", "org/m")

    assert "One node alone has org/small guess ahead" in said.out
    assert "several nodes together have no draft" in said.out
