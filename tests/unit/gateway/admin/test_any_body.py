"""Whatever is sent to the admin API: an answer or a refusal, no fault of ours."""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.admin.description import BODIES
from tests.scripted_leader import ScriptedLeader

BOUNDED = settings(
    deadline=None, derandomize=True, database=None, max_examples=8,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
FIELDS = sorted({name for body in BODIES.values() for name in body.__struct_fields__} | {"x"})
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_with_anything_anywhere_is_no_fault(
    address: str, leader: ScriptedLeader, path: str
) -> None:
    leader.begins_as = {"state": "done"}
    there = path.replace("{node}", "studio-1")

    def ask_all() -> None:
        with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:

            @settings(BOUNDED)
            @given(field=st.sampled_from(FIELDS), value=anything)
            def ask(field: str, value: Any) -> None:
                body = {"model": "m"} if "model" in BODIES[path].__struct_fields__ else {}
                answer = client.post(there, json=body | {field: value})

                assert answer.status_code in (200, 400), answer.text

            ask()

    await asyncio.to_thread(ask_all)


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"model":"\xff"}', b'"x"', b"\x00"])
async def test_a_body_that_is_no_object_is_a_400(
    admin: httpx.AsyncClient, leader: ScriptedLeader, body: bytes
) -> None:
    for path in BODIES:
        answer = await admin.post(path.replace("{node}", "n"), content=body)

        assert (answer.status_code, path) == (400, path)
        assert answer.json()["error"]["message"]
