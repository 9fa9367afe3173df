"""A gateway dies while it generates; another one that asks for the same request gets its stream."""

import asyncio

import httpx
from msgspec.structs import replace

from bus.connection import Bus
from bus.gateways import answer_probes
from bus.stream import TokenSource
from proto.frames import AnyFrame, Delta, End
from proto.ids import EngineId, GatewayId, ModelId, RequestId, fresh
from proto.inference import Chat, Generate, Sampling, Turn
from proto.subjects import GENERATE
from tests.mesh.asking import QUESTION, chat, posted
from tests.mesh.house import Mesh

SPAN = 200
FIRST, SECOND = GatewayId("gateway.first"), GatewayId("gateway.second")
LATER = 2
"""The attempt that the first gateway is at: it had to move its request before."""


async def test_who_takes_a_request_over_gets_all_of_its_stream(mesh: Mesh) -> None:
    asked = Generate(
        request=RequestId(fresh()),
        gateway=FIRST,
        model=ModelId("tiny"),
        prompt=Chat(turns=(Turn(role="user", content=QUESTION),)),
        sampling=Sampling(temperature=0),
        max_tokens=SPAN,
    )
    engine = engine_of(mesh)
    async with (
        Bus.connect(mesh.access.url("mesh"), "test:takeover") as bus,
        TokenSource.connect(bus, FIRST) as first,
        TokenSource.connect(bus, SECOND) as second,
    ):
        for gateway in (FIRST, SECOND):
            await answer_probes(bus, gateway, "boot")
        before = first.open(asked.request)
        before.attach(engine, LATER)
        await bus.ask(GENERATE, replace(asked, epoch=LATER), engine)
        await before.ready()

        after = second.open(asked.request)
        after.attach(engine, 0)
        accepted = await bus.ask(GENERATE, replace(asked, gateway=SECOND), engine)
        after.attach(engine, accepted.epoch)
        frames: list[AnyFrame] = []
        async with asyncio.timeout(20):
            while not after.is_over:
                await after.ready()
                frames += after.take()

    assert accepted.epoch == LATER
    assert isinstance(frames[-1], End)
    assert frames[-1].usage.completion_tokens == SPAN
    said = "".join(frame.text for frame in frames if isinstance(frame, Delta))
    answer = posted(mesh, "/v1/chat/completions", chat(max_tokens=SPAN)).json()
    assert said == answer["choices"][0]["message"]["content"]


def engine_of(mesh: Mesh) -> EngineId:
    shown = httpx.get(f"{mesh.url}/v1/models/tiny", trust_env=False).json()
    return EngineId(shown["x_odyssai"]["engines"][0])
