"""A server that refuses is asked once more: it may only be reading its settings anew."""

import pytest

from bus import dialing
from bus.address import Address
from bus.dialing import _Line

REFUSED = Exception("nats: 'Authorization Violation'")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(dialing, "REFUSED_WAIT_S", 0.0)
    monkeypatch.setattr(dialing, "TURNED_AWAY_WAIT_S", 0.0)
    return []


@pytest.fixture
async def line(told: list[str]) -> _Line:
    """Once let in."""
    address = Address.parse("nats://127.0.0.1:4222")
    line = _Line(address, lambda: None, lambda: told.append("refused"))
    line._was_in = True
    return line


async def test_one_refusal_is_no_answer(line: _Line, told: list[str]) -> None:
    for _ in range(3):
        await line._failed(REFUSED)
        await line._reconnected()

    assert told == []


async def test_two_in_a_row_are(line: _Line, told: list[str]) -> None:
    await line._failed(REFUSED)
    await line._failed(OSError("not there for a moment"))
    await line._failed(REFUSED)

    assert told == ["refused"]
