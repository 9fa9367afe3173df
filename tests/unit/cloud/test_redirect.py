"""An upstream that sends its clients elsewhere: nobody goes, and no key does."""

import pytest

from proto.embedding import Embed
from proto.errors import Code, MeshError
from proto.generation import Generate
from proto.ids import GatewayId, ModelId, RequestId
from proto.prompt import Text
from services.cloud.openai.client import OpenAI
from services.cloud.settings import Upstream
from tests.unit.cloud.canned import canned

NAMES = {"request": RequestId("r"), "gateway": GatewayId("g"), "model": ModelId("up:m")}


async def test_a_redirect_is_not_followed_and_says_what_to_do():
    async with canned(b"") as elsewhere, canned(b"", 307, (f"location: {elsewhere.url}",)) as up:
        client = OpenAI(Upstream(name="up", url=up.url, keys=("secret",)))
        with pytest.raises(MeshError, match=elsewhere.url) as streamed:
            async for _ in client.generate(Generate(prompt=Text(text="x"), **NAMES)):
                pass
        with pytest.raises(MeshError, match="name its last address") as whole:
            await client.embed(Embed(inputs=(Text(text="x"),), **NAMES))
        with pytest.raises(MeshError, match="name its last address"):
            await client.catalog()
        await client.close()

    assert streamed.value.code is whole.value.code is Code.UPSTREAM
    assert len(up.asked) == 3
    assert elsewhere.asked == []
