"""Credentials are listed, get new keys and are withdrawn while everybody else goes on."""

import asyncio
from argparse import Namespace
from pathlib import Path

import pytest

from bus import dialing, members
from bus.connection import Bus
from bus.errors import TurnedAway
from bus.membership import known_membership
from ops.arguments import joining
from ops.command import parser
from ops.joining import credentials
from ops.joining.credentials import one_of
from ops.joining.entry import enter
from ops.joining.local import own_url
from proto.credentials import (
    INVITED_ROLES,
    Credential,
    Dismiss,
    Holder,
    InviteRole,
    ListCredentials,
    Rotate,
)
from proto.errors import MeshError
from proto.joining import Token
from proto.subjects import CREDENTIALS, DISMISS, INVITE_ROLE, ROTATE
from tests.unit.ops.joining.house import House


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "SEED_LOOK_S", 0.05)
    monkeypatch.setattr(members, "OVERLAP_S", 1.0)


async def known(house: House) -> dict[str, Credential]:
    told = (await house.console.ask(CREDENTIALS, ListCredentials())).credentials
    return {f"{each.role}.{each.name}": each for each in told}


async def test_all_that_may_be_on_the_bus_are_listed(house: House) -> None:
    await house.join("studio")

    found = await known(house)

    assert {"gateway.home", "runner.hall", "runner.studio", "ops.home", "sys.home"} <= set(found)
    assert found["gateway.home"].is_local
    assert not found["runner.studio"].is_local
    assert len({each.fingerprint for each in found.values()}) == len(found)


async def test_a_holder_goes_over_to_its_new_key_and_the_old_one_opens_nothing(
    house: House, tmp_path: Path
) -> None:
    file = house.access.folder / "keys" / "gateway.home.seed"
    before = file.read_text()
    url = house.access.url("gateway")
    anew, refused = asyncio.Event(), asyncio.Event()
    interrupted: list[str] = []
    house.bus.on_reconnect.append(lambda: interrupted.append("scheduler"))
    async with Bus.connect(url, "gateway:g") as gateway:
        gateway.on_reconnect.append(anew.set)
        gateway.on_refusal.append(refused.set)
        await house.console.ask(ROTATE, Rotate(credential="gateway.home"))

        assert (await known(house))["gateway.home"].is_changing
        await asyncio.wait_for(anew.wait(), 10)
        assert file.read_text() != before
        async with asyncio.timeout(10):
            while (await known(house))["gateway.home"].is_changing:
                await asyncio.sleep(0.02)
        await gateway.settled()
        assert gateway.is_connected
        assert not refused.is_set()
    assert interrupted == []

    (tmp_path / "old").write_text(before)
    with pytest.raises(TurnedAway):
        async with Bus.connect(url.replace(str(file), str(tmp_path / "old")), "t:t", within_s=2):
            pass


async def test_who_is_withdrawn_is_cut_off_at_once_and_told_why(house: House) -> None:
    gone = asyncio.Event()
    url = await own_url(house.access, "gateway", "port-8001")
    async with Bus.connect(url, "gateway:g") as gateway:
        gateway.on_refusal.append(gone.set)
        await house.console.ask(DISMISS, Dismiss(holder="gateway.port-8001"))
        await asyncio.wait_for(gone.wait(), 3)

    assert "gateway.port-8001" not in await known(house)
    for own in ("doorkeeper.home", "sys.home"):
        with pytest.raises(MeshError, match="rotate it instead"):
            await house.console.ask(DISMISS, Dismiss(holder=own))


async def test_another_machine_can_have_another_role(house: House, tmp_path: Path) -> None:
    invited = await house.console.ask(INVITE_ROLE, InviteRole(role="ops", name=None))
    member = await enter(tmp_path / "guest", Token.read(invited.token), "office", "machine")

    assert (member.role, member.node) == ("ops", "office")
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with Bus.connect(member.url(tmp_path / "guest"), "ops:watch") as ops:
        await ops.listen_raw("telemetry.>", lambda address, _: heard.put_nowait(address))
        await ops.settled()
        await house.bus._client.publish("telemetry.v1.job.j", b"{}")
        assert await asyncio.wait_for(heard.get(), 5) == "telemetry.v1.job.j"


async def test_a_machine_that_joined_makes_itself_a_new_key(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "guest"
    member = await enter(home, await house.invite(), None, "studio")
    before = (await known(house))["runner.studio"].fingerprint
    given = parser().parse_args(["credentials", "rotate", "--home", str(home)])
    anew = asyncio.Event()
    async with Bus.connect(member.url(home), "runner:studio") as node:
        node.on_reconnect.append(anew.set)
        assert await asyncio.to_thread(credentials.main, given) == 0
        await asyncio.wait_for(anew.wait(), 10)

    assert (await known(house))["runner.studio"].fingerprint != before
    assert known_membership(home) == member
    assert "runner.studio has a new key" in capsys.readouterr().out


async def test_the_home_has_no_say_over_the_seed_of_another_machine(house: House) -> None:
    await house.join("studio")

    with pytest.raises(MeshError, match="on the machine that has it"):
        await house.console.ask(ROTATE, Rotate(credential="runner.studio"))


async def test_the_server_shows_a_new_certificate_without_a_restart(open_bus: House) -> None:
    def shown() -> bytes:
        return (open_bus.access.folder / "server.pem").read_bytes()

    before = shown()
    interrupted: list[str] = []
    open_bus.bus.on_reconnect.append(lambda: interrupted.append("scheduler"))
    await open_bus.console.ask(ROTATE, Rotate(credential="certificate"))

    assert shown() != before
    async with Bus.connect(open_bus.access.url("gateway"), "gateway:g") as gateway:
        assert gateway.is_connected
    await open_bus.bus.settled()
    assert interrupted == []


async def test_the_command_lists_rotates_and_revokes(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async def said(*words: str) -> str:
        given: Namespace = parser().parse_args(["credentials", *words, "--home", str(house.home)])
        assert await asyncio.to_thread(credentials.main, given) == 0
        return capsys.readouterr().out

    assert "gateway     home" in await said()
    assert "health.home has a new key" in await said("rotate", "health")
    assert "cloud.home is cut off" in await said("revoke", "cloud")
    assert "cloud" not in await said()


def test_the_command_invites_for_every_role_that_another_machine_can_have() -> None:
    assert set(joining.ROLES) == set(INVITED_ROLES)


def test_a_credential_is_found_by_role_or_name_if_there_is_one() -> None:
    def credential(text: str) -> Credential:
        holder = Holder.of(text)
        return Credential(
            role=holder.role, name=holder.name, fingerprint="f", since_s=0.0, is_local=True
        )

    all_ = tuple(map(credential, ("gateway.home", "gateway.west", "health.home", "runner.studio")))

    assert one_of(all_, "health") == Holder("health", "home")
    assert one_of(all_, "studio") == Holder("runner", "studio")
    assert one_of(all_, "gateway.west") == Holder("gateway", "west")
    with pytest.raises(MeshError, match=r"gateway\.home, gateway\.west"):
        one_of(all_, "gateway")
    with pytest.raises(MeshError, match="no mini"):
        one_of(all_, "mini")
