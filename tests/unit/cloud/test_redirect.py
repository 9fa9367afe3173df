"""An upstream that sends its clients elsewhere: nobody goes, and no key does."""

import httpx
import pytest

from proto.errors import Code, MeshError
from proto.ids import GatewayId, ModelId, RequestId
from proto.inference import Generate, Text
from services.cloud.openai import OpenAIUpstream
from services.cloud.settings import Upstream

ASKED = Generate(
    request=RequestId("r"), gateway=GatewayId("g"), model=ModelId("up:m"), prompt=Text(text="x")
)


@pytest.fixture
async def asked():
    return []


@pytest.fixture
async def leading_away(asked):
    """Of a cloud service whose upstream answers everything with a redirect."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(307, headers={"location": "http://evil.example/v1"})

    upstream = OpenAIUpstream(Upstream(name="up", url="https://up.example/v1", key="secret"))
    await upstream._http.aclose()
    upstream._http = httpx.AsyncClient(
        base_url="https://up.example/v1",
        headers=upstream._http.headers,
        follow_redirects=upstream._http.follow_redirects,
        transport=httpx.MockTransport(answer),
    )
    yield upstream
    await upstream.close()


async def test_a_redirect_is_not_followed_and_says_what_to_do(leading_away, asked):
    with pytest.raises(MeshError, match=r"evil\.example") as streamed:
        async for _ in leading_away.generate(ASKED):
            pass
    with pytest.raises(MeshError, match="name its last address") as whole:
        await leading_away.ask("/embeddings", {})
    with pytest.raises(httpx.HTTPStatusError):
        await leading_away.catalog()

    assert streamed.value.code is whole.value.code is Code.UPSTREAM
    assert {request.url.host for request in asked} == {"up.example"}
    assert len(asked) == 3
