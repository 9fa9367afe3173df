"""Pictures are taken from a gateway once, for as long as there is room."""

import pytest

from bus import blobs
from proto.errors import Code, MeshError
from proto.ids import GatewayId, fresh
from services.runner.engine.vision.album import Album
from tests.unit.engine.vision.conftest import A, B
from tests.unit.engine.vision.pictures import chat, part, png


class Giver:
    """A gateway's half, which counts what it is asked for."""

    def __init__(self, *pictures):
        self.id = GatewayId(f"g.{fresh()}")
        self.kept = {part(data).digest: data for data in pictures}
        self.asked = []

    def find(self, digest):
        self.asked.append(digest)
        return self.kept.get(digest)


@pytest.fixture
async def gateway(bus):
    giver = Giver(A, B)
    await blobs.give_out(bus, giver.id, giver.find)
    await bus.settled()
    return giver


async def test_a_picture_is_fetched_and_prepared_once(bus, gateway, seeing):
    album = Album(bus, seeing("smolvlm").model.eyes)
    first = await album.pictures(chat(A, "and", B, A), gateway.id)
    second = await album.pictures(chat(A), gateway.id)
    assert first[0] is first[2] is second[0]
    assert len(gateway.asked) == 2


async def test_what_is_too_much_is_forgotten_and_fetched_again(bus, gateway, seeing):
    album = Album(bus, seeing("smolvlm").model.eyes, limit_bytes=1)
    first = await album.pictures(chat(A, B), gateway.id)
    again = await album.pictures(chat(A), gateway.id)
    assert first[0] is not again[0]
    assert len(gateway.asked) == 3


async def test_a_broken_picture_is_named_by_its_number(bus, seeing):
    broken = png(1)[:200]
    giver = Giver(A, broken)
    await blobs.give_out(bus, giver.id, giver.find)
    await bus.settled()
    album = Album(bus, seeing("smolvlm").model.eyes)
    with pytest.raises(MeshError) as refused:
        await album.pictures(chat(A, broken), giver.id)
    assert refused.value.code is Code.INVALID_REQUEST
    assert refused.value.message.startswith("Image 2 of 2 cannot be read")


async def test_a_picture_of_an_impossible_shape_is_refused(bus, seeing):
    thin = png(1, 4000, 2)
    giver = Giver(thin)
    await blobs.give_out(bus, giver.id, giver.find)
    await bus.settled()
    album = Album(bus, seeing("qwen2_vl").model.eyes)
    with pytest.raises(MeshError, match=r"Image 1 of 1 is nothing that this model can take"):
        await album.pictures(chat(thin), giver.id)
