"""What is known of an upstream's models while it tells them, and while it does not."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from bus.connection import Bus
from proto.errors import Code, MeshError
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.catalog import Catalog
from services.cloud.line import Line
from services.cloud.providers.memory import CatalogMemory
from services.cloud.settings import Upstream

KEY = "key-0123456789"
CARD = ModelCard(id=ModelId("m"), context_length=8)
GONE = MeshError(Code.UPSTREAM, "away")


class Teller:
    """A Client of which nothing but its catalog is asked."""

    def __init__(self, *said: tuple[ModelCard, ...] | MeshError) -> None:
        self._said = list(said)
        self.is_closed = False

    async def catalog(self) -> tuple[ModelCard, ...]:
        said = self._said.pop(0)
        if isinstance(said, MeshError):
            raise said
        return said

    async def close(self) -> None:
        self.is_closed = True


def upstream(**told: Any) -> Upstream:
    return Upstream(**{"name": "up", "url": "http://up", "keys": (KEY,)} | told)


def catalog(teller: Any, up: Upstream, told: Any = lambda _up, _cards: None) -> Catalog:
    return Catalog(up, Line(teller, up.keys), told)


async def look(known: Catalog) -> list[str]:
    with suppress(MeshError):
        await known.look()
    return [card.id for card in known.cards]


async def test_models_of_a_server_vanish_with_it_and_those_of_a_vendor_do_not() -> None:
    for kind, left in (("openai-compatible", []), ("ollama", []), ("openai", ["up:m"])):
        known = catalog(Teller((CARD,), GONE), upstream(kind=kind))

        assert await look(known) == ["up:m"]
        assert await look(known) == left
        assert known.trouble == "away"


async def test_what_was_told_to_an_earlier_process_stands_until_more_is_heard() -> None:
    known = catalog(Teller(GONE), upstream())
    known.recall((CARD,))

    assert known.has_looked.is_set()
    assert [card.id for card in known.cards] == ["up:m"]
    assert known.takes("m")
    assert await look(known) == []


async def test_what_is_known_by_now_is_not_taken_back_by_what_was_known_before() -> None:
    known = catalog(Teller(()), upstream())
    await look(known)
    known.recall((CARD,))

    assert known.cards == ()


async def test_another_address_is_another_server_and_other_patterns_are_not() -> None:
    known = catalog(Teller((CARD,)), upstream())
    await look(known)

    known.change(upstream(hides=("m",)), is_elsewhere=False)
    assert (known.cards, known.takes("m")) == ((), False)
    known.change(upstream(), is_elsewhere=False)
    assert [card.id for card in known.cards] == ["up:m"]
    known.change(upstream(url="http://other"), is_elsewhere=True)
    assert known.cards == ()


async def test_trouble_names_no_key() -> None:
    known = catalog(Teller(MeshError(Code.UPSTREAM, f"bad {KEY}")), upstream())
    await look(known)

    assert known.trouble == "bad (a key)"


async def test_only_news_are_told_and_outlive_the_process(nats_url: str) -> None:
    async with Bus.connect(nats_url, "test:1") as bus:
        memory, up = await CatalogMemory.read(bus), upstream()
        told: list[Any] = []

        def tell(at: Upstream, cards: tuple[ModelCard, ...]) -> None:
            told.append(cards)
            memory.keep(at, cards)

        known = catalog(Teller((CARD,), (CARD,), ()), up, tell)
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
            writing = tasks.create_task(memory.write())
            await look(known)
            await look(known)
            while not (again := await CatalogMemory.read(bus)).of(up):
                await asyncio.sleep(0.01)
            writing.cancel()

        assert told == [(CARD,)]
        assert again.of(up) == (CARD,)
        assert again.of(upstream(url="http://elsewhere")) == ()


async def test_a_client_is_closed_when_the_last_of_those_who_began_with_it_is_done() -> None:
    old, new = Teller(), Teller()
    line = Line(old, (KEY,))
    async with line.held() as held:
        await line.replace(new, ())
        async with line.held() as newer:
            assert (held, newer) == (old, new)
        assert not old.is_closed
    assert old.is_closed
    assert not new.is_closed

    await line.close()
    assert new.is_closed


async def test_a_client_that_nobody_uses_is_closed_at_once() -> None:
    old = Teller()
    await Line(old).replace(Teller(), ())

    assert old.is_closed


async def test_an_error_keeps_the_key_that_its_own_client_had_to_itself() -> None:
    line = Line(Teller(), (KEY,))

    async def fail() -> None:
        async with line.held():
            await line.replace(Teller(), ())
            raise MeshError(Code.UPSTREAM, f"bad {KEY}")

    with pytest.raises(MeshError, match="bad \\(a key\\)"):
        await fail()


@pytest.mark.parametrize(
    ("told", "is_near"),
    [
        ({"url": "http://192.168.1.7:8000/v1"}, True),
        ({"kind": "ollama", "url": "http://studio:11434/v1"}, True),
        ({"url": "https://api.example.com/v1"}, False),
    ],
)
async def test_what_is_near_is_asked_again_soon_and_what_is_away_is_not(
    told: dict[str, Any], is_near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cloud.catalog.NEAR_S", 0.0)
    asked = asyncio.Queue[None]()

    class Counting(Teller):
        async def catalog(self) -> tuple[ModelCard, ...]:
            asked.put_nowait(None)
            return (CARD,)

    keeping = asyncio.create_task(catalog(Counting(), upstream(**told)).keep())
    await asked.get()
    try:
        async with asyncio.timeout(5 if is_near else 0.2):
            await asked.get()
        assert is_near
    except TimeoutError:
        assert not is_near
    keeping.cancel()
    await asyncio.wait({keeping})
