"""How long a request waits for an engine that is known but not there."""

import time

import pytest

from proto.errors import Code, MeshError
from proto.ids import RequestId
from services.gateway.asking import wait as waiting
from services.gateway.asking.wait import Wait

LOST = MeshError(Code.ENGINE_LOST, "The engine did not answer.")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(waiting, "POLL_S", 0.0)
    return now


async def test_an_engine_that_cannot_be_heard_uses_up_no_patience(clock):
    """A link that is dead for ten seconds takes the whole of the first question's time."""
    wait = Wait(RequestId("r"), load_s=1.0)
    clock[0] += 10.0
    await wait.after(LOST)
    clock[0] += waiting.PATIENCE_S - 0.1
    await wait.after(LOST)
    clock[0] += 0.2

    with pytest.raises(MeshError, match="did not answer"):
        await wait.after(LOST)


async def test_what_will_not_be_better_is_said_at_once(clock):
    with pytest.raises(MeshError, match="no"):
        await Wait(RequestId("r"), load_s=1.0).after(MeshError(Code.INVALID_REQUEST, "no"))
