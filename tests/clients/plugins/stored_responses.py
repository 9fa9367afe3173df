"""A plugin for OpenAI's own tests: the stored responses that they name are there for each.

It runs in their process, not in ours: ``pytest -p stored_responses`` with this folder and the
root on the path, and ``ODYSSAI_NATS`` set to the mesh's bus.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from bus.connection import Bus
from bus.large import LargeBucket
from bus.provision import Limits
from proto.dialects.responses.item import InputText, Message, OutputText
from proto.dialects.responses.response import Response
from proto.dialects.responses.stored import StoredResponse
from proto.ids import fresh
from proto.state import RESPONSES

NAMED = ("resp_677efb5139a88190b512bc3fef8e535d", "response_id", "resp_123")
LIMITS = Limits(ttl_s=30 * 86_400, max_bytes=1 << 30)
"""As the gateway has them by default: opening a bucket sets them."""


@pytest.fixture(autouse=True)
def stored_responses() -> None:
    with ThreadPoolExecutor(1) as beside:
        beside.submit(asyncio.run, _store()).result()


async def _store() -> None:
    async with Bus.connect(os.environ["ODYSSAI_NATS"], f"test:{fresh()}") as bus:
        bucket = await LargeBucket.open(bus, RESPONSES, StoredResponse, LIMITS)
        for id in NAMED:
            found = await bucket.get(id)
            await bucket.swap(id, _record(id), found[1] if found else 0)


def _record(id: str) -> StoredResponse:
    said = Message(id="msg_2", role="assistant", content=[OutputText(text="Hello.")])
    response = Response(
        id=id,
        created_at=1_700_000_000,
        status="completed",
        background=True,
        model="gpt-6-astra",
        output=(said,),
    )
    asked = Message(id="after", role="user", content=[InputText(text="Hi")])
    return StoredResponse(response=response, items=(asked,))
