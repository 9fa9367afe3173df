"""Keys that the mesh keeps, as two cloud services of it see them."""

import asyncio
from pathlib import Path

import keyring
import pytest

from bus.connection import Bus
from bus.providers import drop_key, keep_key, list_providers
from bus.state import Bucket
from proto.errors import MeshError
from proto.provider import PROVIDER_KEYS, SealedKey
from services.cloud.providers.kept import KeptKeys

SECRET = "sk-proj-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def no_chain():
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
async def bus(nats_url: str):
    async with Bus.connect(nats_url, "test:1") as bus:
        yield bus


class Service:
    """What one cloud service knows of keys."""

    def __init__(self, kept: KeptKeys, news: asyncio.Event) -> None:
        self.kept = kept
        self.news = news

    @classmethod
    async def start(cls, bus: Bus, home: Path, name: str) -> "Service":
        news = asyncio.Event()
        kept = await KeptKeys.find(bus, news.set)
        await kept.open(home, name)
        return cls(kept, news)

    def keys(self, provider: str = "oa") -> tuple[str, ...]:
        return self.kept.by_provider[provider].keys


async def test_nobody_to_seal_for_is_told_with_what_to_do(bus: Bus) -> None:
    with pytest.raises(MeshError, match="start one with `odyssai up`"):
        await keep_key(bus, "oa", "main", SECRET, "me")


async def test_the_main_key_comes_first_and_each_change_is_heard(bus: Bus, tmp_path: Path) -> None:
    service = await Service.start(bus, tmp_path, "one")
    for name, secret in (("aux", "second-key"), ("main", SECRET)):
        await keep_key(bus, "oa", name, secret, "me")
    await service.kept.read()

    assert service.keys() == (SECRET, "second-key")
    assert service.news.is_set()
    await drop_key(bus, "oa", "main")
    await service.kept.read()
    assert service.keys() == ("second-key",)


async def test_a_service_that_comes_later_is_let_in_by_one_that_is_there(
    bus: Bus, tmp_path: Path
) -> None:
    first = await Service.start(bus, tmp_path / "a", "one")
    await keep_key(bus, "oa", "main", SECRET, "me")
    await first.kept.read()
    second = await Service.start(bus, tmp_path / "b", "two")
    assert second.kept.by_provider["oa"].keys == ()
    assert "sealed for others" in second.kept.by_provider["oa"].locked

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        running = tasks.create_task(first.kept.run(tmp_path / "a", "one"))
        while not second.keys():
            await asyncio.sleep(0.02)
            await second.kept.read()
        running.cancel()

    assert second.keys() == (SECRET,)


async def test_a_record_that_is_copied_to_another_provider_does_not_open_there(
    bus: Bus, tmp_path: Path
) -> None:
    """Else whoever may write records could have a key sent elsewhere."""
    service = await Service.start(bus, tmp_path, "one")
    await keep_key(bus, "oa", "main", SECRET, "me")
    records = await Bucket.open(bus, PROVIDER_KEYS, SealedKey)
    found = await records.get("oa.main")
    assert found
    await records.put("evil.main", found[0])
    await service.kept.read()

    assert service.keys("evil") == ()
    assert "somewhere else" in service.kept.by_provider["evil"].locked
    assert service.keys() == (SECRET,)


async def test_a_lost_vault_is_told_and_not_a_crash(bus: Bus, tmp_path: Path) -> None:
    await Service.start(bus, tmp_path / "before", "one")
    await keep_key(bus, "oa", "main", SECRET, "me")
    after = await Service.start(bus, tmp_path / "after", "one")

    assert after.keys() == ()
    assert "cannot be used" in after.kept.by_provider["oa"].locked


async def test_without_a_cloud_service_what_is_configured_is_listed(bus: Bus) -> None:
    assert await list_providers(bus) == []
