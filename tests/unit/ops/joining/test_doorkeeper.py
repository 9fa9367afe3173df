"""A real bus server and the one who keeps its door."""

import asyncio
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import nats.errors
import pytest

from bus import embedded
from bus.address import Address
from bus.connection import Bus
from bus.errors import NotConnected, TurnedAway
from bus.handshake import authority_of
from bus.key import Key
from bus.state import Bucket
from proto.errors import MeshError
from proto.ids import NodeId
from proto.joining import Revoke
from proto.plan import PLANS, NodePlan
from proto.presence import NodeBeat
from proto.state import ENGINES, RESPONSES, EngineRecord
from proto.subjects import NODE_BEAT, REVOKE
from tests.unit.ops.joining.house import House, open_house


def beat(node: str) -> NodeBeat:
    return NodeBeat(node=NodeId(node), boot="b", pid=1, host="h", platform="p")


async def test_a_guest_becomes_a_node_that_is_heard(house: House) -> None:
    heard: asyncio.Queue[NodeBeat] = asyncio.Queue()
    await house.bus.listen(NODE_BEAT, heard.put_nowait)
    await house.bus.settled()

    async with Bus.connect(await house.join("studio"), "runner:studio") as node:
        await node.publish(NODE_BEAT, beat("studio"), "studio")

        assert (await heard.get()).node == "studio"


async def test_a_node_keeps_its_part_of_the_state_and_reads_no_other(house: House) -> None:
    async with Bus.connect(await house.join("studio"), "runner:studio") as node:
        engines = await Bucket.open(node, ENGINES, EngineRecord)
        plans = await Bucket.open(node, PLANS, NodePlan)
        record = EngineRecord(
            engine="studio.tiny", node="studio", pid=1, started_s=1.0, source="tiny"
        )  # type: ignore[arg-type]
        await engines.swap("studio.tiny", record, 0)
        await plans.swap("studio", NodePlan(node=NodeId("studio")), 0)
        assert await engines.all() == {"studio.tiny": record}

        told: asyncio.Queue[NodePlan | None] = asyncio.Queue()
        watch = asyncio.create_task(plans.watch(lambda _, plan: told.put_nowait(plan)))
        assert await told.get() == NodePlan(node=NodeId("studio"))
        desired = await Bucket.open(house.bus, PLANS, NodePlan)
        await desired.put("studio", NodePlan(node=NodeId("studio"), epoch=7))
        assert await told.get() == NodePlan(node=NodeId("studio"), epoch=7)
        watch.cancel()

        with pytest.raises(nats.errors.TimeoutError):
            await node._client.jetstream(timeout=0.2).key_value(RESPONSES)


async def test_a_second_guest_with_the_same_token_is_told_why_not(house: House) -> None:
    token = await house.invite()
    await house.join("studio", token)

    with pytest.raises(MeshError, match="used already"):
        await house.join("mini", token)


async def test_the_name_of_this_machine_is_taken(house: House) -> None:
    with pytest.raises(MeshError, match="a node hall already"):
        await house.join("hall")


async def test_a_revoked_node_is_cut_off_at_once_and_others_are_not(house: House) -> None:
    gone = asyncio.Event()
    lost: list[str] = []
    house.bus.on_reconnect.append(lambda: lost.append("mesh"))
    studio_address, mini_address = await house.join("studio"), await house.join("mini")
    async with (
        Bus.connect(studio_address, "runner:studio") as studio,
        Bus.connect(mini_address, "runner:mini") as mini,
    ):
        studio.on_refusal.append(gone.set)
        mini.on_reconnect.append(lambda: lost.append("mini"))

        revoked = await house.bus.ask(REVOKE, Revoke(node=NodeId("studio")))
        assert revoked.was_member
        async with asyncio.timeout(2):
            await gone.wait()
        await mini.settled()
        await house.bus.settled()
        assert lost == []

    with pytest.raises(TurnedAway, match=r"runner\.studio was withdrawn"):
        async with Bus.connect(studio_address, "runner:studio"):
            pass


async def test_members_outlive_the_server_and_the_doorkeeper(tmp_path: Path) -> None:
    async with open_house(tmp_path / "home") as house:
        address = await house.join("studio")
        token = await house.invite()
    file = tmp_path / "home" / "bus" / "members.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    async with open_house(tmp_path / "home") as house:
        async with Bus.connect(address, "runner:studio") as node:
            assert node.is_connected
        await house.join("mini", token)


async def test_an_expired_invitation_is_known_no_longer(tmp_path: Path) -> None:
    async with open_house(tmp_path / "home") as house:
        token = await house.invite(lasts_s=1.5)
        conf = tmp_path / "home" / "bus" / "nats.conf"
        public = Key.of(token.seed).public
        assert public in conf.read_text()
        async with asyncio.timeout(5):
            while public in conf.read_text():
                await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while True:
                try:
                    async with Bus.connect(house.ticket(token), "join:late", within_s=1):
                        await asyncio.sleep(0.01)
                except TurnedAway:
                    break


async def test_beyond_loopback_nothing_is_said_in_plain(open_bus: House) -> None:
    token = await open_bus.invite()
    assert token.fingerprint
    assert await authority_of("127.0.0.1", open_bus.access.port, token.fingerprint)
    assert await authority_of("127.0.0.1", open_bus.access.port, "ab" * 32) is None

    async with Bus.connect(await open_bus.join("studio", token), "runner:studio") as node:
        assert node.is_connected
    blind = replace(Address.parse(open_bus.access.url("scheduler")), ca=None)
    with pytest.raises(NotConnected, match="certificate"):
        async with Bus.connect(str(blind), "test:trusts-nobody", within_s=1):
            pass


async def test_a_key_goes_to_no_server_that_another_authority_vouches_for(
    open_bus: House, tmp_path: Path
) -> None:
    address = await open_bus.join("studio")
    foreign = embedded.prepare(tmp_path / "other", "0.0.0.0")
    os.close(foreign.claim)

    with pytest.raises(NotConnected, match="certificate"):
        async with Bus.connect(
            address.replace(open_bus.access.ca, foreign.access.ca), "runner:studio", within_s=1
        ):
            pass


async def test_who_expects_encryption_never_goes_without(house: House) -> None:
    """A stranger in the server's place, which offers plain talk, gets no word from us."""
    certified = embedded.prepare(house.home.parent / "other", "0.0.0.0")
    os.close(certified.claim)
    token = await house.invite()
    seed = house.home / "ticket"
    seed.write_text(token.seed)
    said: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_name":"x","nonce":"abc","max_payload":1,"headers":true}\r\n')
        said.append(await reader.read(1 << 16))
        writer.close()

    stranger = await asyncio.start_server(greet, "127.0.0.1", 0, family=socket.AF_INET)
    async with stranger:
        port = stranger.sockets[0].getsockname()[1]
        address = Address((f"nats://127.0.0.1:{port}",), seed, Path(certified.access.ca), None, "x")
        with pytest.raises(NotConnected):
            async with Bus.connect(str(address), "join:guest", within_s=0.5):
                pass

    assert said
    assert not any(b"CONNECT" in words for words in said)
