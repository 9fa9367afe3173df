"""Pictures on their way to an upstream."""

from hashlib import sha256

import pytest

from bus import blobs
from bus.connection import Bus
from proto.errors import MeshError
from proto.generation import Generate
from proto.ids import GatewayId, ModelId, RequestId, fresh
from proto.prompt import Chat, ImagePart, Text, TextPart, Turn
from services.cloud.pictures import inlined

DATA = b"\x89PNG" + bytes(3_000_000)
HELD = ImagePart(digest=sha256(DATA).digest(), media_type="image/png", size=len(DATA))


def generate(gateway: GatewayId, *parts: TextPart | ImagePart) -> Generate:
    turns = (Turn(role="system", content="Look."), Turn(role="user", content=parts))
    return Generate(
        request=RequestId("r"), gateway=gateway, model=ModelId("m"), prompt=Chat(turns=turns)
    )


async def test_a_picture_that_a_gateway_holds_becomes_a_data_url(bus: Bus) -> None:
    gateway = GatewayId(f"g.{fresh()}")
    await blobs.give_out(bus, gateway, {HELD.digest: DATA}.get)
    await bus.settled()

    asked = await inlined(bus, generate(gateway, TextPart(text="This:"), HELD))

    assert isinstance(asked.prompt, Chat)
    words, picture = asked.prompt.turns[1].content
    assert words == TextPart(text="This:")
    assert isinstance(picture, ImagePart)
    assert picture.url.startswith("data:image/png;base64,iVBORw")
    assert len(picture.url) > 4_000_000


async def test_a_picture_that_nobody_holds_is_refused(bus: Bus) -> None:
    gateway = GatewayId(f"g.{fresh()}")
    await blobs.give_out(bus, gateway, lambda _: None)
    await bus.settled()

    with pytest.raises(MeshError, match="picture"):
        await inlined(bus, generate(gateway, HELD))


async def test_what_has_its_url_or_no_pictures_is_left_as_it_is(bus: Bus) -> None:
    gateway = GatewayId("g.nobody")
    addressed = generate(gateway, ImagePart(url="https://example.org/a.png"))
    text = Generate(
        request=RequestId("r"), gateway=gateway, model=ModelId("m"), prompt=Text(text="x")
    )

    assert await inlined(bus, addressed) == addressed
    assert await inlined(bus, text) is text
