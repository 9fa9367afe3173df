"""The vendor's SDK, which refuses whatever its types do not hold."""

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI


@pytest.fixture
async def strict(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
